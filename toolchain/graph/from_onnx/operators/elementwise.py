"""Sums, products and other functions of one or several tensors, element by element."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from efq.toolchain.graph.from_onnx.builder import Activation, Value
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.operators.weighted import bias_of
from efq.toolchain.graph.from_onnx.patterns import simplified

Function = Callable[..., Any]


def elementwise(call: OperatorCall, function: Function, *values: Value, numbers: bool = True) -> Value:
    """`function` of values that broadcast to each other, in the order the first of full rank has its axes in.

    numbers: whether it takes a plain number for a tensor.
    """
    first = max((value for value in values if isinstance(value, Activation)), key=_rank, default=None)
    if first is None:
        return call.call(function, *values)
    rank = _rank(first)
    if any(_rank(value) > rank or (isinstance(value, Activation) and _rank(value) < rank) for value in values):
        return call.call(function, *values)
    operands = [_arranged(call, value, first.axes, numbers=numbers) for value in values]
    return Activation(simplified(call, call.builder.call(function, *operands)), first.axes)


def _rank(value: Value) -> int:
    return len(value.axes) if isinstance(value, Activation) else value.dim()


def _arranged(call: OperatorCall, value: Value, axes: tuple[int, ...], *, numbers: bool) -> Any:
    """`value` with its axes stored as `axes` says."""
    order = [axes.index(stored) for stored in range(len(axes))]
    if isinstance(value, Activation):
        if value.axes == axes:
            return value.node
        return call.builder.call(torch.permute, value.node, [value.axes[axis] for axis in order])
    if numbers and value.numel() == 1 and value.is_floating_point():
        return float(value)
    return value.reshape((1,) * (len(axes) - value.dim()) + tuple(value.shape)).permute(order)


def binary(function: Function) -> Callable[[OperatorCall], Value]:
    """Of two tensors."""
    return lambda call: elementwise(call, function, call.needed(0), call.needed(1))


def add(call: OperatorCall) -> Value:
    """A sum, or the bias of the layer before."""
    merged = bias_of(call)
    return elementwise(call, operator.add, call.needed(0), call.needed(1)) if merged is None else merged


def divide(call: OperatorCall) -> Value:
    """A quotient, of whole numbers without its fraction."""
    left, right = call.needed(0), call.needed(1)
    whole = isinstance(left, Tensor) and isinstance(right, Tensor) and not left.is_floating_point()
    if whole and bool((right != 0).all()):  # type: ignore[union-attr]
        return call.call(functools.partial(torch.div, rounding_mode="trunc"), left, right)
    return elementwise(call, operator.truediv, left, right)


def variadic(function: Function, *, numbers: bool = False) -> Callable[[OperatorCall], Value]:
    """Of one tensor or more."""

    def handler(call: OperatorCall) -> Value:
        found = call.needed(0)
        for place in range(1, len(call.inputs)):
            found = elementwise(call, function, found, call.needed(place), numbers=numbers)
        return found

    return handler


def mean(call: OperatorCall) -> Value:
    """Of tensors, element by element."""
    total = variadic(operator.add, numbers=True)(call)
    return elementwise(call, operator.truediv, total, torch.tensor(float(len(call.inputs))))


def unary(function: Function) -> Callable[[OperatorCall], Value]:
    """Of one tensor."""
    return lambda call: elementwise(call, function, call.needed(0))


def where(call: OperatorCall) -> Value:
    """One of two tensors, as a constant says."""
    condition = call.constant(0, "the condition of Where")
    return elementwise(call, torch.where, condition, call.needed(1), call.needed(2), numbers=False)


ELEMENTWISE: dict[str, Callable[[OperatorCall], Any]] = {
    "Add": add,
    "Sub": binary(operator.sub),
    "Mul": binary(operator.mul),
    "Div": divide,
    "Pow": binary(operator.pow),
    "Max": variadic(torch.maximum),
    "Min": variadic(torch.minimum),
    "Sum": variadic(operator.add, numbers=True),
    "Mean": mean,
    "Abs": unary(torch.abs),
    "Neg": unary(torch.neg),
    "Sqrt": unary(torch.sqrt),
    "Reciprocal": unary(torch.reciprocal),
    "Exp": unary(torch.exp),
    "Log": unary(torch.log),
    "Erf": unary(torch.erf),
    "Floor": unary(torch.floor),
    "Ceil": unary(torch.ceil),
    "Round": unary(torch.round),
    "Sign": unary(torch.sign),
    "Where": where,
    "Equal": binary(torch.eq),
    "Less": binary(torch.lt),
    "LessOrEqual": binary(torch.le),
    "Greater": binary(torch.gt),
    "GreaterOrEqual": binary(torch.ge),
    "Not": unary(torch.logical_not),
    "And": binary(torch.logical_and),
    "Or": binary(torch.logical_or),
}
