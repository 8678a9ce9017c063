"""A normalization at the end of a network: an embedding's length is not compared, so it falls away."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import torch
from torch import fx

from efq.toolchain.graph.from_torch.calls import operation_of

_logger = logging.getLogger(__name__)
_SAME_NUMBERS = ("contiguous", "clone", "detach", "alias", "to", "_to_copy", "dropout", "view", "reshape", "flatten")
_KEEPS_POSITIVE = (
    *("clamp_min", "clamp", "maximum", "add", "sqrt", "expand", "expand_as", "unsqueeze", "view", "reshape", "pow"),
    *("repeat", "mul", "div", "squeeze", "to", "_to_copy", "contiguous", "clone", "detach", "broadcast_to"),
)
_INVERTS = ("rsqrt", "reciprocal", "pow")
_LENGTHS = ("linalg_vector_norm", "norm", "frobenius_norm", "linalg_norm")


def without_final_norm(embedding: fx.Node) -> fx.Node:
    """What is divided by its own length at the end of a network, or `embedding` where nothing is."""
    node, passed = embedding, embedding
    while True:
        divided = _divided_by_length(node)
        if divided is not None:
            _logger.debug("the final normalization %s falls away", node.name)
            node = passed = divided
            continue
        following = _same_direction(node)
        if following is None:
            return passed
        node = following


def _divided_by_length(node: fx.Node) -> fx.Node | None:
    operands = [value for value in node.args if isinstance(value, fx.Node)]
    operation = operation_of(node)
    if node.op != "call_function" or len(operands) != 2 or operation not in ("div", "mul", "true_divide"):
        return None
    pairs = [(operands[0], operands[1])] + ([(operands[1], operands[0])] if operation == "mul" else [])
    for vector, scale in pairs:
        if _shape(vector) == _shape(node) and _is_length(scale, inverted=operation == "mul"):
            return vector
    return None


def _is_length(node: fx.Node, *, inverted: bool) -> bool:
    """Whether `node` is one positive number for each image: a length, or one divided by it where `inverted`."""
    while node.op == "call_function":
        operation = operation_of(node)
        if operation in _LENGTHS or (operation == "sum" and _sums_squares(node)):
            return not inverted and _one_a_row(node)
        source = next(iter(_tensors(node)), None)
        if source is None:
            return False
        negative_power = operation == "pow" and isinstance(node.args[1], float | int) and node.args[1] < 0
        if operation in ("rsqrt", "reciprocal") or negative_power:
            inverted = not inverted
        elif operation not in _KEEPS_POSITIVE or not _positive_constants(node):
            return False
        node = source
    return False


def _one_a_row(node: fx.Node) -> bool:
    shape = _shape(node)
    return all(size == 1 for size in shape[1:])


def _sums_squares(node: fx.Node) -> bool:
    source = node.args[0]
    if not isinstance(source, fx.Node):
        return False
    operation = operation_of(source)
    if operation == "mul":
        return len(source.args) > 1 and source.args[0] is source.args[1]
    return operation == "square" or (operation == "pow" and source.args[1:] == (2,))


def _same_direction(node: fx.Node) -> fx.Node | None:
    """What `node` is a copy or a positive multiple of."""
    operation, tensors = operation_of(node), list(_tensors(node))
    if node.op != "call_function" or len(tensors) != 1 or _shape(tensors[0]) != _shape(node):
        return None
    scaled = operation in ("mul", "div") and tensors[0] is node.args[0] and _positive_constants(node)
    return tensors[0] if scaled or operation in _SAME_NUMBERS else None


def _positive_constants(node: fx.Node) -> bool:
    numbers = [value for value in node.args[1:] if isinstance(value, float | int) and not isinstance(value, bool)]
    return all(number > 0 for number in numbers) or operation_of(node) not in ("mul", "div", "add", "pow")


def _tensors(node: fx.Node) -> Iterator[fx.Node]:
    return (value for value in node.args if isinstance(value, fx.Node) and value.op == "call_function")


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, torch.Tensor) else ()
