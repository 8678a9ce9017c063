"""Recognize activations that a network writes out in arithmetic: x * sigmoid(x), relu6(x + 3) / 6, max(x, a * x).

Requires: a student graph. Ensures: no Elementwise; what several functions of one tensor are together is one activation
with a ChannelAffine on a side where it needs one, told from the function's values. Raises LoweringError naming what is
no activation EFQ knows.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch.calls import operation_name
from efq.toolchain.graph.from_torch.interim_operations import Elementwise
from efq.toolchain.graph.from_torch.rewrites.activation_forms import POINTS, modules_of
from efq.toolchain.graph.from_torch.student_graph import is_arithmetic, keep_shape, mark_arithmetic, shape_of
from efq.toolchain.graph.operations import (
    FLOAT_ACTIVATIONS,
    Add,
    ChannelAffine,
    ClippedRelu,
    LeakyRelu,
    Maximum,
    Multiply,
)
from efq.toolchain.graph.source_lines import described, keep_line, line_of
from efq.toolchain.graph.traversal import calls, free_name, module_of

_JOINS = (Add, Multiply, Maximum)
_FUNCTIONS = (*FLOAT_ACTIVATIONS, nn.ReLU, nn.ReLU6, nn.PReLU, LeakyRelu, ClippedRelu, Elementwise, *_JOINS)
_CUT = (nn.ReLU6, ClippedRelu)
_LONGEST = 16  # calls that an activation is written with


def recognize_activations(network: fx.GraphModule) -> None:
    """Rewrite in place."""
    for node, _ in calls(network, *_JOINS, Elementwise, *_CUT):
        if node.users:  # else a function before it was recognized with it
            _recognize(network, node)
    network.graph.eliminate_dead_code()
    for node, module in calls(network, Elementwise):
        assert isinstance(module, Elementwise)
        message = (
            f"{described(node)} computes {operation_name(module.function)}() of {(1, *shape_of(node))}, which has no "
            "integer form where it stands: expected ReLU, ReLU6, PReLU, LeakyReLU, Hardswish, Hardsigmoid, Sigmoid, "
            "SiLU, GELU or Tanh, or arithmetic that is one of them"
        )
        raise LoweringError(message)


def _regions(network: fx.GraphModule, last: fx.Node) -> Iterator[tuple[fx.Node, list[fx.Node]]]:
    """Tensors that `last` is a function of, each with the functions from it to `last` in their order.

    From the nearest on: what is open is replaced by what it reads, the latest first; where one tensor is open, it is
    such a tensor.
    """
    order = {node: place for place, node in enumerate(network.graph.nodes)}
    open_nodes = set(last.all_input_nodes)
    inside = [last]
    while len(inside) <= _LONGEST:
        if len(open_nodes) == 1:
            (source,) = open_nodes
            if shape_of(source) == shape_of(last):
                yield source, sorted(inside, key=order.__getitem__)
        latest = max(open_nodes, key=order.__getitem__)
        if not _is_function(network, latest) or shape_of(latest) != shape_of(last):
            return
        open_nodes.remove(latest)
        open_nodes.update(latest.all_input_nodes)
        inside.append(latest)


def _is_function(network: fx.GraphModule, node: fx.Node) -> bool:
    return isinstance(module_of(network, node), _FUNCTIONS) or is_arithmetic(node)


def _recognize(network: fx.GraphModule, last: fx.Node) -> None:
    """Replace the functions that end in `last` by the fewest operations that some of them are."""
    found: list[tuple[list[nn.Module], fx.Node, list[fx.Node]]] = []
    for source, inside in _regions(network, last):
        if len(inside) == 1 and isinstance(module_of(network, last), _CUT):
            continue
        modules = modules_of(_values(network, source, inside))
        if modules is not None and _is_better(network, modules, inside):
            found.append((modules, source, inside))
    if found:
        modules, source, inside = min(found, key=lambda candidate: (len(candidate[0]), -len(candidate[2])))
        _replace(network, last, source, inside, modules)


def _replace(
    network: fx.GraphModule, last: fx.Node, source: fx.Node, inside: list[fx.Node], modules: list[nn.Module]
) -> None:
    current = source
    with network.graph.inserting_before(last):
        for module in modules:
            name = free_name(network, str(last.target) + ("_affine" if isinstance(module, ChannelAffine) else "_form"))
            if type(module) is type(modules[-1]) and not isinstance(module, ChannelAffine):
                name = free_name(network, str(last.target))
            network.add_submodule(name, module.eval())
            current = network.graph.call_module(name, (current,))
            keep_shape(current, shape_of(last))
            keep_line(current, line_of(last))
            if isinstance(module, ChannelAffine):
                mark_arithmetic(current)
    last.replace_all_uses_with(current)
    for node in reversed(inside):
        if not node.users:
            network.graph.erase_node(node)


def _is_better(network: fx.GraphModule, modules: list[nn.Module], inside: list[fx.Node]) -> bool:
    """Whether `modules` say more than the functions `inside`, which may be operations as they are."""
    kinds = [type(module_of(network, node)) for node in inside]
    if [type(module) for module in modules] == kinds:
        return False
    has_form = Elementwise not in kinds and all(len(set(node.args)) == len(node.args) for node in inside)
    activation = any(isinstance(module, FLOAT_ACTIVATIONS) for module in modules)
    return not has_form or activation or (len(modules) == 1 and not isinstance(module_of(network, inside[-1]), _CUT))


@torch.no_grad()
def _values(network: fx.GraphModule, source: fx.Node, inside: Iterable[fx.Node]) -> Tensor:
    """Of the functions `inside` at POINTS of each channel, (P, C) float64."""
    channels, *sizes = shape_of(source)
    points = POINTS.reshape(-1, 1, *(1 for _ in sizes)).expand(-1, channels, *(1 for _ in sizes))
    found = {source: points}
    result = points
    for node in inside:
        module = copy.deepcopy(module_of(network, node))
        assert module is not None
        result = module.double()(*[found[argument] for argument in node.args])  # type: ignore[index]
        found[node] = result
    return result.double().expand_as(points).reshape(len(POINTS), channels)
