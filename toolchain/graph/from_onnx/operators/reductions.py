"""Means, sums and norms along axes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from efq.toolchain.graph.from_onnx.builder import BATCH, Activation, Operand, Value
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall, axis_of
from efq.toolchain.graph.from_onnx.refusal import refuse

Along = Callable[[OperatorCall, Operand, list[int], bool], Any]


def reduction(along: Along) -> Callable[[OperatorCall], Value]:
    """`along(call, operand, axes, keepdim)` gives the figure of one operand."""

    def handler(call: OperatorCall) -> Value:
        source = call.needed(0)
        rank = len(source.shape)
        axes, keeps = call.numbers("axes", 1), bool(call.attribute("keepdims", 1))
        if call.attribute("noop_with_empty_axes", 0) and not axes:
            return source
        found = sorted({axis_of(axis, rank) for axis in axes or range(rank)})
        if isinstance(source, Tensor):
            constant: Tensor = along(call, source, found, keeps)
            return constant
        stored = [source.axes[axis] for axis in found]
        if 0 in stored and source.shape[source.axes.index(0)] % BATCH == 0:
            refuse("a figure of a whole batch", "expected a network that takes each image by itself")
        node = along(call, source.node, sorted(stored), keeps)
        if keeps:
            return Activation(node, source.axes)
        left = sorted(set(range(rank)) - set(stored))
        return Activation(node, tuple(left.index(axis) for axis in source.axes if axis in left))

    return handler


def of(function: Callable[..., Any]) -> Along:
    """A function of torch that takes axes."""
    return lambda call, operand, axes, keeps: call.builder.call(function, operand, axes, keeps)


def _product(call: OperatorCall, operand: Operand, axes: list[int], keeps: bool) -> Any:
    for axis in sorted(axes, reverse=True):  # torch.prod takes one
        operand = call.builder.call(torch.prod, operand, axis, keeps)
    return operand


def _absolute(call: OperatorCall, operand: Operand, axes: list[int], keeps: bool) -> Any:
    return call.builder.call(torch.sum, call.builder.call(torch.abs, operand), axes, keeps)


def _squares(call: OperatorCall, operand: Operand, axes: list[int], keeps: bool) -> Any:
    return call.builder.call(torch.sum, call.builder.call(operator.mul, operand, operand), axes, keeps)


def _length(call: OperatorCall, operand: Operand, axes: list[int], keeps: bool) -> Any:
    return call.builder.call(torch.linalg.vector_norm, operand, 2, axes, keeps)


def lp_normalization(call: OperatorCall) -> Value:
    """functional.normalize."""
    source, order = call.activation(0), call.attribute("p", 2)
    axis = axis_of(call.attribute("axis", -1), len(source.axes))
    if order not in (1, 2):
        refuse(f"p {order}", "expected 1 or 2")
    node = call.builder.call(functional.normalize, source.node, p=float(order), dim=source.axes[axis])
    return Activation(node, source.axes)


REDUCTIONS: dict[str, Callable[[OperatorCall], Any]] = {
    "ReduceMean": reduction(of(torch.mean)),
    "ReduceSum": reduction(of(torch.sum)),
    "ReduceMax": reduction(of(torch.amax)),
    "ReduceMin": reduction(of(torch.amin)),
    "ReduceProd": reduction(_product),
    "ReduceL1": reduction(_absolute),
    "ReduceL2": reduction(_length),
    "ReduceSumSquare": reduction(_squares),
    "LpNormalization": lp_normalization,
}
