"""From the exported graph to the student graph, call after call, of what the embedding needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from efq.toolchain.graph.from_torch.calls import Call, operation_of, refuse
from efq.toolchain.graph.from_torch.context import Context
from efq.toolchain.graph.from_torch.exporting.export import ExportedNetwork
from efq.toolchain.graph.from_torch.final_norm import without_final_norm
from efq.toolchain.graph.from_torch.operators.elementwise import ELEMENTWISE, maximum
from efq.toolchain.graph.from_torch.operators.layers import LAYERS
from efq.toolchain.graph.from_torch.operators.movement import MOVEMENT
from efq.toolchain.graph.from_torch.operators.pooling import POOLING
from efq.toolchain.graph.from_torch.views import View, views_in

_OPERATORS: dict[str, Callable[[Call, Context], Any]] = {**LAYERS, **POOLING, **ELEMENTWISE, **MOVEMENT}
_CREATIONS = ("zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full", "empty_like", "new_empty")
_SIZES = ("size", "shape", "sizes", "repeats")
_ADVICE = {
    "softmax": "has no integer form: attention is not supported; use a convolution network",
    "_softmax": "has no integer form: attention is not supported; use a convolution network",
    "scaled_dot_product_attention": "has no integer form: attention is not supported; use a convolution network",
    "upsample_nearest2d": "has no integer form: a recognizer needs no larger maps",
    "upsample_bilinear2d": "has no integer form: a recognizer needs no larger maps; resize faces before",
}


def convert(exported: ExportedNetwork, context: Context, image: fx.Node) -> fx.Node:
    """The node of the student graph that computes the embeddings, before any rewrite; `image` is the network's input.

    Raises LoweringError naming the first call without a form.
    """
    embedding = without_final_norm(exported.embedding)
    needed = _needed(embedding)
    values: dict[fx.Node, Any] = {node: value for node, (_, value) in exported.weights.items()}
    values[exported.image] = View(image)
    for node in exported.graph.nodes:
        if node in needed and node not in values:
            values[node] = _value(node, values, context)
    found = values[embedding]
    if not isinstance(found, View):
        refuse(embedding, "does not depend on the image: expected embeddings of it")
    if len(found.shape) not in (1, 3):
        refuse(embedding, f"is the network's output, {(1, *found.shape)} for one image: expected one embedding, (1, d)")
    return context.reader.node(found, embedding)


def _needed(embedding: fx.Node) -> set[fx.Node]:
    needed, waiting = set(), [embedding]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    return needed


def _value(node: fx.Node, values: dict[fx.Node, Any], context: Context) -> Any:
    if node.op != "call_function":
        refuse(node)
    positional = [_resolved(value, values) for value in node.args]
    named = {name: _resolved(value, values) for name, value in node.kwargs.items()}
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return _of_python(node, positional, named)
    _refuse_random(node)
    call = Call(node, _by_name(schema, positional, named), _shape(node))
    if not any(views_in(call.arguments)):
        return _constant(call, context)
    operation = call.operation
    if operation in _CREATIONS:
        return _created(call)
    if operation == "max" and call.get("other") is not None:
        return maximum(call, context)
    handler = _OPERATORS.get(operation)
    if handler is None:
        call.refuse(_ADVICE.get(operation, ""))
    return handler(call, context)


def _of_python(node: fx.Node, positional: list[Any], named: dict[str, Any]) -> Any:
    """operator.getitem of an operation with several outputs, and arithmetic of numbers."""
    if any(views_in(positional)) and operation_of(node) != "getitem":
        refuse(node)
    try:
        result = node.target(*positional, **named)  # type: ignore[operator]
    except (IndexError, TypeError, ArithmeticError):
        refuse(node, "takes images apart, or computes with their number: expected the same for each image alone")
    if result is None:
        refuse(node, "reads indices or statistics, which have no integer form")
    return result


def _refuse_random(node: fx.Node) -> None:
    tags = getattr(node.target, "tags", ())
    dropout = "dropout" in operation_of(node)
    if torch.Tag.nondeterministic_seeded in tags and not dropout and operation_of(node) != "rrelu":
        refuse(node, "is random: expected a network that gives one embedding for an image")


def _resolved(value: Any, values: dict[fx.Node, Any]) -> Any:
    if isinstance(value, fx.Node):
        return values[value]
    if isinstance(value, tuple | list):
        return [_resolved(part, values) for part in value]
    return value


def _by_name(schema: Any, positional: list[Any], named: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for place, argument in enumerate(schema.arguments):
        if place < len(positional):
            arguments[argument.name] = positional[place]
        elif argument.name in named:
            arguments[argument.name] = named[argument.name]
        elif argument.has_default_value():
            arguments[argument.name] = argument.default_value
    return arguments


def _shape(node: fx.Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    first = value[0] if isinstance(value, tuple | list) and value else value
    return tuple(first.shape) if isinstance(first, Tensor) else ()


@torch.no_grad()
def _constant(call: Call, context: Context) -> Any:
    """What a call computes of weights and numbers only, for one image where it makes a tensor for all."""
    arguments = {
        name: [_for_one(part, context.batch) for part in value] if name in _SIZES and isinstance(value, list) else value
        for name, value in call.arguments.items()
    }
    arguments.pop("device", None)
    arguments.pop("pin_memory", None)
    return call.node.target(**arguments)  # type: ignore[operator]


def _for_one(size: Any, batch: int) -> Any:
    return size // batch if type(size) is int and size > 0 and size % batch == 0 else size


def _created(call: Call) -> Tensor:
    """A constant of the size of an image's tensor."""
    number = 1.0 if "ones" in call.operation else call.get("fill_value", 0.0)
    if call.operation.startswith("empty"):
        call.refuse("makes a tensor without numbers")
    return torch.full((1, *call.shape[1:]), float(number))
