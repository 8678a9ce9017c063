"""What keeps a traced graph from being the network's function, found before anything is made of it.

A graph holds the calls of modules and functions, as they were made once. What else changes numbers, a hook, a tensor
changed in place and read again, an output that is no tensor, would be lost without a word.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.record import check_layer_name
from efq.toolchain.graph.source_lines import described, named
from efq.toolchain.graph.torch_functions import is_size

_IN_PLACE = (operator.iadd, operator.imul, operator.isub)
_SAME_MEMORY = ("contiguous", "view", "flatten", "reshape", torch.flatten)
_PASSED_ON = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)


def refuse_hooks(network: nn.Module) -> None:
    """Raises LoweringError for a module with forward hooks: what they change is in no graph."""
    for name, module in network.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            message = (
                f"layer {name or type(network).__name__!r} has forward hooks, which a student cannot have: remove them "
                "(handle.remove(), or torch.nn.utils.remove_weight_norm, remove_spectral_norm, prune.remove)"
            )
            raise LoweringError(message)


def check_calls(graph: fx.Graph, network: nn.Module) -> None:
    """Raises LoweringError naming a call whose result no graph of operations gives."""
    _check_output(graph)
    for node in graph.nodes:
        if node.op == "call_module":
            _check_name(node)
        if node.op in ("call_module", "call_function", "call_method") and not is_size(node):
            _check_inputs(node)
    _check_changes_in_place(graph, network)


def check_numbers(node: fx.Node, module: nn.Module) -> nn.Module:
    """`module`, whose weights are finite. Raises LoweringError naming the layer `node` where they are not."""
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            message = (
                f"{described(node)} has NaN or infinity as its {name}: expected finite weights and variances of 0 or "
                "more; its training went wrong or the file is damaged"
            )
            raise LoweringError(message)
    return module


def _check_output(graph: fx.Graph) -> None:
    (output,) = [node for node in graph.nodes if node.op == "output"]
    returned = output.args[0]
    if not isinstance(returned, fx.Node) or returned.op == "get_attr" or is_size(returned):
        kind = (
            "a tensor without the image"
            if isinstance(returned, fx.Node)
            else type(returned).__name__.removeprefix("immutable_")
        )
        message = (
            f"expected the network to return the embeddings, one tensor, found {kind}: wrap it to return one tensor"
        )
        raise LoweringError(message)


def _check_name(node: fx.Node) -> None:
    """A student file holds the layers' names, and nothing but names."""
    try:
        check_layer_name(str(node.target))
    except ValueError as error:
        message = f"layer {str(node.target)!r} cannot keep its name in a student: {error}; rename it"
        raise LoweringError(message) from error


def _check_inputs(node: fx.Node) -> None:
    tensors = [value for value in _flat(node.args, node.kwargs) if isinstance(value, fx.Node) and not is_size(value)]
    own = next((value for value in tensors if value.op == "get_attr"), None)
    if own is not None:
        message = (
            f"{described(node)} reads {named(own)}: expected layers with weights of their own, and no other "
            "parameter, buffer or constant; write it as a BatchNorm, a convolution or a linear layer"
        )
        raise LoweringError(message)


def _flat(*values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(*value)
        elif isinstance(value, dict):
            yield from _flat(*value.values())
        else:
            yield value


def _check_changes_in_place(graph: fx.Graph, network: nn.Module) -> None:
    """A graph's operations leave their inputs as they are: nothing may read again what was changed in place."""
    memory: dict[fx.Node, fx.Node] = {}
    changed: dict[fx.Node, fx.Node] = {}
    current: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        for source in node.all_input_nodes:
            owner = memory.get(source, source)
            if owner in changed and source not in current[owner]:
                message = (
                    f"{described(node)} reads a tensor that {described(changed[owner])} has changed in place: write "
                    "that without inplace=True or a method that ends in _"
                )
                raise LoweringError(message)
        inputs = node.all_input_nodes
        in_place = _is_in_place(node, network)
        if inputs and (in_place or _shares_memory(node, network)):
            memory[node] = memory.get(inputs[0], inputs[0])
            if in_place:
                changed[memory[node]] = node
                current[memory[node]] = {node}
            elif memory[node] in changed:
                current[memory[node]].add(node)


def _is_in_place(node: fx.Node, network: nn.Module) -> bool:
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        return bool(getattr(module, "inplace", False)) and not isinstance(module, _PASSED_ON)
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    return node.op == "call_function" and (node.target in _IN_PLACE or node.kwargs.get("inplace") is True)


def _shares_memory(node: fx.Node, network: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), _PASSED_ON)
    return node.target in _SAME_MEMORY
