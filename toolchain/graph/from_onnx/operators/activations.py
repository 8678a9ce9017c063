"""Activations: layers of torch.nn, whatever the order of the axes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.graph.from_onnx.builder import Activation, Value, filled
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.operators.elementwise import elementwise
from efq.toolchain.graph.from_onnx.refusal import refuse

_UNBOUNDED = 3e38  # the bounds of Clip before opset 11 are those of float32


def layer_of(call: OperatorCall, module: nn.Module) -> Value:
    """`module` on the first input, a constant's at once."""
    source = call.needed(0)
    if isinstance(source, Tensor):
        return call.call(module, source)
    return call.layer(module, source.node, source.axes)


def simple(kind: Callable[[], nn.Module]) -> Callable[[OperatorCall], Value]:
    """A layer without arguments."""
    return lambda call: layer_of(call, kind())


def leaky_relu(call: OperatorCall) -> Value:
    """nn.LeakyReLU."""
    return layer_of(call, nn.LeakyReLU(call.attribute("alpha", 0.01)))


def prelu(call: OperatorCall) -> Value:
    """nn.PReLU with a slope a channel or one for all; other shapes of slopes as functions.

    Slopes of (C,) are the channels' where they cannot be the last axis's, as networks older than the operator write it.
    """
    source, slopes = call.activation(0), call.constant(1, "the slopes of a PRelu")
    rank, shape = len(source.axes), source.shape
    stored_channel = source.axes.index(1) if rank > 1 else 0
    if slopes.numel() == 1:
        return call.layer(filled(nn.PReLU, 1, tensors={"weight": slopes.reshape(1)}), source.node, source.axes)
    if slopes.dim() > rank:
        refuse(f"slopes of {list(slopes.shape)} for values of {rank} axes", "the file is damaged")
    whole = [1] * (rank - slopes.dim()) + list(slopes.shape)
    one_axis = slopes.dim() == 1 and rank > 1
    if one_axis and slopes.numel() != shape[-1] and slopes.numel() == shape[1]:
        whole, stored_channel = [slopes.numel() if axis == 1 else 1 for axis in range(rank)], 1
    wanted = [size if axis == stored_channel else 1 for axis, size in enumerate(shape)]
    if whole == wanted and source.axes[stored_channel] == 1:
        layer = filled(nn.PReLU, slopes.numel(), tensors={"weight": slopes.reshape(-1)})
        return call.layer(layer, source.node, source.axes)
    positive = elementwise(call, torch.relu, source)
    negative = elementwise(call, operator.sub, source, positive)
    return elementwise(call, operator.add, positive, elementwise(call, operator.mul, negative, slopes.reshape(whole)))


def clip(call: OperatorCall) -> Value:
    """nn.ReLU6, nn.ReLU, or a clamp."""
    low, high = _bound(call, "min", 1), _bound(call, "max", 2)
    if low == 0 and high in (6, None):
        return layer_of(call, nn.ReLU() if high is None else nn.ReLU6())
    if low is None and high is None:
        return call.needed(0)
    bounds = {name: value for name, value in (("min", low), ("max", high)) if value is not None}
    source = call.needed(0)
    if isinstance(source, Tensor):
        return call.call(torch.clamp, source, **bounds)
    return Activation(call.builder.call(torch.clamp, source.node, **bounds), source.axes)


def _bound(call: OperatorCall, name: str, place: int) -> float | None:
    if call.has(name):
        value = call.attribute(name, 0.0)
    elif call.value(place) is None:
        return None
    else:
        tensor = call.constant(place, f"the {name} of a Clip")
        if tensor.numel() != 1:
            refuse(f"{tensor.numel()} numbers as {name}", "expected one")
        value = float(tensor)
    if math.isnan(value):
        refuse(f"NaN as {name}", "the file is damaged")
    return None if abs(value) > _UNBOUNDED else value


def hard_sigmoid(call: OperatorCall) -> Value:
    """nn.Hardsigmoid with a slope of 1/6, else max(0, min(1, alpha * x + beta)): Keras has 0.2."""
    alpha, beta = call.attribute("alpha", 0.2), call.attribute("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-4) and beta == 0.5:
        return layer_of(call, nn.Hardsigmoid())
    source = call.activation(0)
    scaled = call.builder.call(operator.add, call.builder.call(operator.mul, source.node, alpha), beta)
    return Activation(call.builder.call(torch.clamp, scaled, min=0.0, max=1.0), source.axes)


def gelu(call: OperatorCall) -> Value:
    """nn.GELU."""
    approximate = call.attribute("approximate", "none")
    if approximate not in ("none", "tanh"):
        refuse(f"approximate {approximate[:20]!r}", "expected none or tanh")
    return layer_of(call, nn.GELU(approximate=approximate))


def swish(call: OperatorCall) -> Value:
    """x * sigmoid(alpha * x): nn.SiLU where alpha is 1."""
    alpha = call.attribute("alpha", 1.0)
    if alpha == 1:
        return layer_of(call, nn.SiLU())
    source = call.needed(0)
    inner = elementwise(call, operator.mul, source, torch.tensor(alpha))
    return elementwise(call, operator.mul, source, elementwise(call, torch.sigmoid, inner))


ACTIVATIONS: dict[str, Callable[[OperatorCall], Any]] = {
    "Relu": simple(nn.ReLU),
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Clip": clip,
    "Sigmoid": simple(nn.Sigmoid),
    "HardSigmoid": hard_sigmoid,
    "HardSwish": simple(nn.Hardswish),
    "Tanh": simple(nn.Tanh),
    "Gelu": gelu,
    "Swish": swish,
    "Mish": simple(nn.Mish),
    "Softplus": simple(nn.Softplus),
    "Softsign": simple(nn.Softsign),
    "Elu": lambda call: layer_of(call, nn.ELU(call.attribute("alpha", 1.0))),
    "Celu": lambda call: layer_of(call, nn.CELU(call.attribute("alpha", 1.0))),
    "ThresholdedRelu": lambda call: layer_of(call, nn.Threshold(call.attribute("alpha", 1.0), 0.0)),
}
