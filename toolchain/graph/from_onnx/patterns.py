"""Activations that exporters write as several operators, known again: SiLU, Hardswish, GELU, PReLU."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_onnx.builder import filled, shape_of
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall

_DEEPEST = 4  # products inside each other


def simplified(call: OperatorCall, operand: Any) -> Any:
    """The layer that `operand` is the last operation of, or itself."""
    if not isinstance(operand, fx.Node):
        return operand
    found: tuple[nn.Module, fx.Node] | None = None
    if operand.target in (operator.mul, operator.truediv):
        found = _gate(call, operand)
    elif operand.target in (operator.add, operator.sub):
        found = _prelu(call, operand)
    if found is None or shape_of(found[1]) != shape_of(operand):
        return operand
    return call.builder.layer(*found, call.names())


def _gate(call: OperatorCall, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
    """x * sigmoid(x); x * relu6(x + 3) / 6; x * (1 + erf(x / sqrt(2))) / 2."""
    coefficient, factors = _factors(node)
    if len(factors) == 1 and _close(coefficient, 1 / 6):
        source = _shifted_relu6(call, factors[0])
        return None if source is None else (nn.Hardsigmoid(), source)
    if len(factors) != 2:
        return None
    for source, gate in (factors, factors[::-1]):
        layer = call.builder.module_of(gate)
        inner = gate.args[0] if gate.args else None
        if inner is source and coefficient == 1 and isinstance(layer, nn.Sigmoid | nn.Hardsigmoid):
            return (nn.SiLU() if isinstance(layer, nn.Sigmoid) else nn.Hardswish()), source
        if _close(coefficient, 1 / 6) and _shifted_relu6(call, gate) is source:
            return nn.Hardswish(), source
        if _close(coefficient, 0.5) and _error_function(gate) is source:
            return nn.GELU(), source
    return None


def _factors(node: fx.Node, depth: int = 0) -> tuple[float, list[fx.Node]]:
    """A product as one number times other nodes."""
    if depth < _DEEPEST and node.target in (operator.mul, operator.truediv, torch.neg):
        left = node.args[0]
        right = -1.0 if node.target is torch.neg else node.args[1]
        if node.target is operator.truediv and isinstance(right, float) and right:
            right = 1 / right
        elif node.target is operator.truediv:
            return 1.0, [node]
        coefficient = 1.0
        factors: list[fx.Node] = []
        for part in (left, right):
            if isinstance(part, fx.Node):
                inner, found = _factors(part, depth + 1)
                coefficient, factors = coefficient * inner, factors + found
            elif isinstance(part, float):
                coefficient *= part
        return coefficient, factors
    return 1.0, [node]


def _shifted_relu6(call: OperatorCall, node: fx.Node) -> fx.Node | None:
    """x of relu6(x + 3)."""
    inner = node.args[0] if isinstance(call.builder.module_of(node), nn.ReLU6) else None
    if not isinstance(inner, fx.Node) or inner.target is not operator.add:
        return None
    source = next((part for part in inner.args if isinstance(part, fx.Node)), None)
    return source if 3.0 in inner.args else None


def _error_function(node: fx.Node) -> fx.Node | None:
    """x of 1 + erf(x / sqrt(2))."""
    if node.target is not operator.add or 1.0 not in node.args:
        return None
    inner = next((part for part in node.args if isinstance(part, fx.Node)), None)
    if inner is None or inner.target is not torch.erf or not isinstance(inner.args[0], fx.Node):
        return None
    coefficient, factors = _factors(inner.args[0])
    return factors[0] if len(factors) == 1 and _close(coefficient, math.sqrt(0.5)) else None


def _prelu(call: OperatorCall, node: fx.Node) -> tuple[nn.Module, fx.Node] | None:
    """relu(x) + slope * min(x, 0), however the second is written."""
    one, two = node.args[:2]
    orders = [(one, two)] if node.target is operator.sub else [(one, two), (two, one)]
    for positive, negative in orders:
        source = _of_relu(call, positive)
        if source is None or not isinstance(negative, fx.Node):
            continue
        coefficient, factors = _factors(negative)
        slopes = [tensor for factor in factors if (tensor := call.builder.constant_of(factor)) is not None]
        rest = [factor for factor in factors if factor.op != "get_attr"]
        share = _share_of_negative(call, rest[0], source) if len(rest) == 1 else None
        if share is None or len(slopes) > 1:
            continue
        share *= -coefficient if node.target is operator.sub else coefficient
        weight = _slope_of_channels(slopes[0] if slopes else torch.ones(1), shape_of(source))
        if weight is not None:
            return filled(nn.PReLU, weight.numel(), tensors={"weight": share * weight}), source
    return None


def _of_relu(call: OperatorCall, value: Any) -> fx.Node | None:
    """x of relu(x)."""
    if not isinstance(value, fx.Node) or not isinstance(call.builder.module_of(value), nn.ReLU):
        return None
    source = value.args[0]
    return source if isinstance(source, fx.Node) else None


def _share_of_negative(call: OperatorCall, node: fx.Node, source: fx.Node) -> float | None:
    """How many times min(x, 0) `node` is: relu(-x), x - |x|, x - relu(x), min(x, 0)."""
    inner = _of_relu(call, node)
    if inner is not None:
        coefficient, factors = _factors(inner)
        return coefficient if factors == [source] and coefficient < 0 else None
    if node.target is torch.clamp and node.args == (source,) and node.kwargs == {"max": 0.0}:
        return 1.0
    if node.target is operator.sub and node.args[0] is source and isinstance(node.args[1], fx.Node):
        other = node.args[1]
        if other.target is torch.abs and other.args == (source,):
            return 2.0
        return 1.0 if _of_relu(call, other) is source else None
    return None


def _slope_of_channels(slopes: Tensor, shape: tuple[int, ...]) -> Tensor | None:
    """(C,) or (1,) of slopes that broadcast to (N, C, ...)."""
    if slopes.numel() == 1:
        return slopes.reshape(1)
    wanted = [1, shape[1], *[1] * (len(shape) - 2)]
    return slopes.reshape(-1) if [1] * (len(shape) - slopes.dim()) + list(slopes.shape) == wanted else None


def _close(one: float, two: float) -> bool:
    return math.isclose(one, two, rel_tol=1e-5)
