"""Compute on maps what a network computes on features to make maps of again, as squeeze-excite blocks do.

Requires: a student graph whose nodes know their shapes. Ensures: no Unflatten; a linear layer in front of one is the
convolution that covers its maps, which has the same weights.
"""

from __future__ import annotations

import math

import torch
from torch import fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch.interim_operations import Unflatten
from efq.toolchain.graph.from_torch.student_graph import keep_shape, shape_of
from efq.toolchain.graph.operations import Concat, Flatten, QuantizedConv2d, QuantizedLinear, SelectChannels
from efq.toolchain.graph.source_lines import described, keep_line, line_of
from efq.toolchain.graph.traversal import calls, free_name, module_of, producer

_NOT_ON_FEATURES = (Flatten, Unflatten, nn.MaxPool2d, nn.AvgPool2d)


def maps_instead_of_features(network: fx.GraphModule) -> None:
    """Rewrite in place. Raises LoweringError naming features that become maps in another way."""
    for node, _ in calls(network, Unflatten):
        maps = _as_maps(network, producer(node), shape_of(node), node, node)
        node.replace_all_uses_with(maps)
        network.graph.erase_node(node)
    network.graph.eliminate_dead_code()


def _as_maps(
    network: fx.GraphModule, node: fx.Node, shape: tuple[int, ...], user: fx.Node, unflatten: fx.Node
) -> fx.Node:
    """`node`, which gives features, made to give maps of `shape` to `user`; whoever else reads it reads features."""
    module = module_of(network, node)
    if len(shape_of(node)) == 3:
        return node
    if isinstance(module, Flatten) and shape_of(producer(node)) == shape:
        return producer(node)
    one_pixel = math.prod(shape[1:]) == 1
    if isinstance(module, QuantizedLinear) and one_pixel:
        return _convolved(network, node, module, shape, user, unflatten)
    if module is None or isinstance(module, _NOT_ON_FEATURES) or not (one_pixel or not list(module.parameters())):
        message = (
            f"{described(unflatten)} makes maps of {(1, *shape)} out of features, which has no integer form: expected "
            "the features of a pooled map, one row and column each"
        )
        raise LoweringError(message)
    if isinstance(module, Concat | SelectChannels) and not one_pixel:
        message = f"{described(unflatten)} makes maps of {(1, *shape)} out of chosen features: expected all of them"
        raise LoweringError(message)
    for source in node.all_input_nodes:
        maps = _as_maps(network, source, _pixel_shape(source) if one_pixel else shape, node, unflatten)
        node.replace_input_with(source, maps)
    return _with_flat_readers(network, node, shape, user)


def _pixel_shape(node: fx.Node) -> tuple[int, ...]:
    return (shape_of(node)[0], 1, 1)


def _convolved(
    network: fx.GraphModule,
    node: fx.Node,
    linear: QuantizedLinear,
    shape: tuple[int, ...],
    user: fx.Node,
    unflatten: fx.Node,
) -> fx.Node:
    source = producer(node)
    flattened = isinstance(module_of(network, source), Flatten)
    maps = producer(source) if flattened else _as_maps(network, source, _pixel_shape(source), node, unflatten)
    inputs, *kernel = shape_of(maps)
    convolution = QuantizedConv2d(inputs, linear.out_features, tuple(kernel))
    with torch.no_grad():
        convolution.weight.copy_(linear.weight.reshape(convolution.weight.shape))
        assert convolution.bias is not None
        convolution.bias.copy_(linear.bias)
    network.add_submodule(str(node.target), convolution.eval())
    node.replace_input_with(source, maps)
    return _with_flat_readers(network, node, shape, user)


def _with_flat_readers(network: fx.GraphModule, node: fx.Node, shape: tuple[int, ...], user: fx.Node) -> fx.Node:
    """`node`, which gives maps of `shape` from now on; its readers but `user` read its features."""
    features = shape_of(node)
    keep_shape(node, shape)
    readers = [other for other in node.users if other is not user]
    if readers:
        name = free_name(network, f"{node.target}_flatten")
        network.add_submodule(name, Flatten().eval())
        with network.graph.inserting_after(node):
            flat = network.graph.call_module(name, (node,))
        keep_shape(flat, features)
        keep_line(flat, line_of(node))
        for other in readers:
            other.replace_input_with(node, flat)
    return node
