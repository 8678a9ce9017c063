"""Trace a network and write every node of its graph as one of the operations EFQ knows.

Requires: a feed-forward network in eval mode, one input and one output, without control flow on tensor values.
Ensures: a graph of module calls only, of `efq.toolchain.graph.operations`, BatchNorm as ChannelAffine, PReLU as
nn.PReLU; the float function is unchanged to rounding.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    Add,
    ChannelAffine,
    Concat,
    Crop,
    Flatten,
    GlobalAveragePool,
    ImageInput,
    LeakyRelu,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.record import check_layer_name
from efq.toolchain.graph.traversal import remove, replace_module

_DROPPED = (nn.Dropout, nn.Dropout2d, nn.Identity)
_KEPT = (nn.ReLU, nn.ReLU6, nn.MaxPool2d, nn.AvgPool2d)


def trace(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> fx.GraphModule:
    """A lowered float graph that takes uint8 (N, H, W, 3) images: ImageInput, the normalization, then `network`.

    Raises LoweringError when the network cannot be traced or holds an operation without an integer form.
    """
    try:
        graph = fx.symbolic_trace(copy.deepcopy(network).eval())
    except Exception as error:
        message = (
            f"cannot trace {type(network).__name__}: {error}; expected a feed-forward network without control flow "
            "on tensor values"
        )
        raise LoweringError(message) from error
    _separate_calls(graph)
    _prepend_input(graph, mean, std)
    for node in list(graph.graph.nodes):
        _canonicalize(graph, node)
    graph.graph.eliminate_dead_code()
    graph.delete_all_unused_submodules()
    _check_names(graph)
    graph.recompile()
    graph.requires_grad_(True)
    return graph.eval()


def _check_names(network: fx.GraphModule) -> None:
    """A student file holds the layers' names, and nothing but names."""
    for node in network.graph.nodes:
        if node.op == "call_module":
            try:
                check_layer_name(str(node.target))
            except ValueError as error:
                message = f"layer {str(node.target)!r} cannot keep its name in a student: {error}; rename it"
                raise LoweringError(message) from error


def _separate_calls(network: fx.GraphModule) -> None:
    """Give every call of a module that is called more than once its own copy: the passes change modules in place."""
    called: set[str] = set()
    for node in network.graph.nodes:
        if node.op == "call_module" and node.target in called:
            module = copy.deepcopy(network.get_submodule(str(node.target)))
            node.target = f"{node.target}_for_{node.name}"
            network.add_submodule(node.target, module)
        called.add(str(node.target))


def _prepend_input(network: fx.GraphModule, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    inputs = [node for node in network.graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        message = f"expected a network with one input, found {len(inputs)}: {[node.name for node in inputs]}"
        raise LoweringError(message)
    image = ImageInput()
    normalization = ChannelAffine(3)
    with torch.no_grad():
        scale = torch.tensor(std, dtype=torch.float64)
        normalization.weight.copy_(1.0 / (IMAGE_SCALE * scale))
        normalization.bias.copy_((IMAGE_ZERO_POINT - torch.tensor(mean, dtype=torch.float64)) / scale)
    network.add_submodule("image_input", image)
    network.add_submodule("image_normalization", normalization)
    with network.graph.inserting_after(inputs[0]):
        first = network.graph.call_module("image_input", (inputs[0],))
    with network.graph.inserting_after(first):
        second = network.graph.call_module("image_normalization", (first,))
    inputs[0].replace_all_uses_with(second, delete_user_cb=lambda user: user is not first)


def _canonicalize(network: fx.GraphModule, node: fx.Node) -> None:
    if node.op in ("placeholder", "output", "get_attr"):
        return
    if node.op == "call_module":
        _canonicalize_module(network, node, network.get_submodule(str(node.target)))
        return
    key = node.target if node.op == "call_function" else str(node.target)
    if key == "size" or key is getattr or _is_size(node):
        return
    handler = _FUNCTIONS.get(key)
    replacement = handler(node) if handler is not None else None
    if replacement is None:
        message = (
            f"node {node.name!r} ({node.target}) has no integer form: expected convolutions, linear layers, BatchNorm, "
            "ReLU / PReLU / LeakyReLU, add, concat, pooling, flatten"
        )
        raise LoweringError(message)
    if isinstance(replacement, nn.Identity):
        remove(network, node)
        return
    _call_instead(network, node, replacement)


def _is_size(node: fx.Node) -> bool:
    """x.shape[0] or x.size()[0]: a number for a view, gone with it."""
    source = node.args[0] if node.target is operator.getitem else None
    return isinstance(source, fx.Node) and (source.target is getattr or source.target == "size")


def _call_instead(network: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    tensors = node.args[0] if isinstance(module, Concat) else node.args
    inputs = tuple(value for value in tensors if isinstance(value, fx.Node))  # type: ignore[union-attr]
    inputs = inputs if isinstance(module, Add | Concat) else inputs[:1]
    network.add_submodule(node.name, module.eval())
    with network.graph.inserting_before(node):
        call = network.graph.call_module(node.name, inputs)
    node.replace_all_uses_with(call)
    network.graph.erase_node(node)


def _canonicalize_module(network: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    if isinstance(module, (*_KEPT, Add, ChannelAffine, ImageInput)) and not _is_special_pool(module):
        return
    if isinstance(module, _DROPPED):
        remove(network, node)
        return
    replacement = _module_form(module)
    if replacement is None:
        message = (
            f"layer {node.target!r} ({type(module).__name__}) has no integer form: expected Conv2d with zero padding, "
            "Linear, BatchNorm, ReLU, ReLU6, PReLU, LeakyReLU, pooling or flatten"
        )
        raise LoweringError(message)
    replace_module(network, node, replacement)


def _is_special_pool(module: nn.Module) -> bool:
    indices = isinstance(module, nn.MaxPool2d) and module.return_indices
    return indices or (isinstance(module, nn.AvgPool2d) and module.divisor_override is not None)


def _module_form(module: nn.Module) -> nn.Module | None:
    match module:
        case nn.Conv2d() if module.padding_mode == "zeros" and not isinstance(module.padding, str):
            return _convolution(module)
        case nn.Linear():
            return _linear(module)
        case nn.BatchNorm2d() | nn.BatchNorm1d():
            return _affine(module)
        case nn.PReLU():
            return module if module.num_parameters > 1 else LeakyRelu(float(module.weight.detach()))
        case nn.LeakyReLU():
            return LeakyRelu(module.negative_slope)
        case nn.Flatten() if module.start_dim == 1:
            return Flatten()
        case nn.AdaptiveAvgPool2d() if module.output_size in (1, (1, 1)):
            return GlobalAveragePool()
    return None


@torch.no_grad()
def _convolution(module: nn.Conv2d) -> QuantizedConv2d:
    result = QuantizedConv2d(
        module.in_channels,
        module.out_channels,
        module.kernel_size,
        module.stride,
        module.padding,
        module.dilation,
        module.groups,
    )
    result.weight.copy_(module.weight)
    assert result.bias is not None
    result.bias.copy_(torch.zeros_like(result.bias) if module.bias is None else module.bias)
    return result


@torch.no_grad()
def _linear(module: nn.Linear) -> QuantizedLinear:
    result = QuantizedLinear(module.in_features, module.out_features)
    result.weight.copy_(module.weight)
    result.bias.copy_(torch.zeros_like(result.bias) if module.bias is None else module.bias)
    return result


@torch.no_grad()
def _affine(module: nn.BatchNorm2d | nn.BatchNorm1d) -> ChannelAffine | None:
    """Ioffe and Szegedy 2015, algorithm 2: gamma / sqrt(variance + epsilon) * (x - mean) + beta."""
    if module.running_var is None or module.running_mean is None:
        return None
    result = ChannelAffine(module.num_features)
    weight = (module.running_var.double() + module.eps).rsqrt()
    if module.weight is not None:
        weight = weight * module.weight.double()
    bias = -module.running_mean.double() * weight
    if module.bias is not None:
        bias = bias + module.bias.double()
    result.weight.copy_(weight)
    result.bias.copy_(bias)
    return result


def _flatten(node: fx.Node) -> nn.Module | None:
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    return Flatten() if start == 1 else None


def _view(node: fx.Node) -> nn.Module | None:
    return Flatten() if len(node.args) == 3 and node.args[2] == -1 else None


def _concat(node: fx.Node) -> nn.Module | None:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return Concat() if axis == 1 else None


def _average(node: fx.Node) -> nn.Module | None:
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    keeps = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    return GlobalAveragePool() if keeps and tuple(axes or ()) in ((2, 3), (-2, -1)) else None  # type: ignore[arg-type]


def _leaky(node: fx.Node) -> nn.Module | None:
    slope: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("negative_slope", 0.01)
    return LeakyRelu(float(slope))


def _add(node: fx.Node) -> nn.Module | None:
    return Add() if len(node.all_input_nodes) == 2 and not node.kwargs else None


def _crop(node: fx.Node) -> nn.Module | None:
    """x[:, :, top:bottom, left:right] with constant bounds on an image-sized tensor."""
    index = node.args[1]
    if not isinstance(index, tuple) or len(index) != 4 or not all(isinstance(part, slice) for part in index):
        return None
    rows, columns = index[2], index[3]
    if index[0] != slice(None) or index[1] != slice(None) or {rows.step, columns.step} - {None, 1}:  # type: ignore[union-attr]
        return None
    far = 1 << 30
    return Crop(
        top=rows.start or 0,  # type: ignore[union-attr]
        bottom=far if rows.stop is None else rows.stop,  # type: ignore[union-attr]
        left=columns.start or 0,  # type: ignore[union-attr]
        right=far if columns.stop is None else columns.stop,  # type: ignore[union-attr]
    )


_FUNCTIONS: dict[Any, Callable[[fx.Node], nn.Module | None]] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _add),
    **dict.fromkeys((functional.relu, torch.relu, "relu", "relu_"), lambda node: nn.ReLU()),
    **dict.fromkeys((functional.relu6,), lambda node: nn.ReLU6()),
    **dict.fromkeys((functional.leaky_relu,), _leaky),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys(("view", "reshape"), _view),
    **dict.fromkeys((torch.cat,), _concat),
    **dict.fromkeys((torch.mean, "mean"), _average),
    **dict.fromkeys((operator.getitem,), _crop),
    **dict.fromkeys((functional.dropout, "contiguous"), lambda node: nn.Identity()),
}
