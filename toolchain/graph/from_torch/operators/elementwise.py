"""Functions of single numbers: arithmetic with constants and with other tensors, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.graph.from_torch.alignment import channelwise, spread
from efq.toolchain.graph.from_torch.calls import Call
from efq.toolchain.graph.from_torch.context import Context, channel_affine
from efq.toolchain.graph.from_torch.interim_operations import Elementwise
from efq.toolchain.graph.from_torch.student_graph import mark_arithmetic, shape_of
from efq.toolchain.graph.from_torch.views import View
from efq.toolchain.graph.operations import Add, ClippedRelu, LeakyRelu, Maximum, Multiply


def add(call: Call, context: Context) -> View:
    """self + alpha * other, either of which may be constant."""
    left, right, alpha = call["self"], call["other"], call.get("alpha", 1)
    if isinstance(left, View) and isinstance(right, View):
        return context.elementwise(call, Add(), (left, _times(call, context, right, alpha)))
    if isinstance(left, View):
        return context.affine(call, left, 1.0, _scaled(right, alpha))
    return context.affine(call, right, float(alpha), left)


def subtract(call: Call, context: Context) -> View:
    """self - alpha * other; rsub the other way round."""
    left, right, alpha = call["self"], call["other"], call.get("alpha", 1)
    if call.operation == "rsub":
        left, right = right, left
        if alpha != 1:
            call.refuse()
    if isinstance(left, View) and isinstance(right, View):
        return context.elementwise(call, Add(), (left, _times(call, context, right, -alpha)))
    if isinstance(left, View):
        return context.affine(call, left, 1.0, _scaled(right, -alpha))
    return context.affine(call, right, float(-alpha), left)


def multiply(call: Call, context: Context) -> View:
    """self * other, either of which may be constant."""
    left, right = call["self"], call["other"]
    if isinstance(left, View) and isinstance(right, View):
        return context.elementwise(call, Multiply(), (left, right))
    view, constant = (left, right) if isinstance(left, View) else (right, left)
    return context.affine(call, view, constant, 0.0)


def divide(call: Call, context: Context) -> View:
    """self / constant."""
    if isinstance(call["self"], View) and not isinstance(call["other"], View) and call.get("rounding_mode") is None:
        divisor = call["other"]
        inverse = 1.0 / (divisor.double() if isinstance(divisor, Tensor) else divisor)
        return context.affine(call, call["self"], inverse, 0.0)
    return unknown(call, context)


def negate(call: Call, context: Context) -> View:
    """-self."""
    return context.affine(call, call["self"], -1.0, 0.0)


def maximum(call: Call, context: Context) -> View:
    """The larger of two tensors; of one and a constant what the two are together."""
    if isinstance(call["self"], View) and isinstance(call["other"], View):
        return context.elementwise(call, Maximum(), (call["self"], call["other"]))
    return unknown(call, context)


def leaky_relu(call: Call, context: Context) -> View:
    """LeakyReLU."""
    return context.elementwise(call, LeakyRelu(float(call["negative_slope"])), (call["self"],))


def clamp(call: Call, context: Context) -> View:
    """clamp, clamp_min, clamp_max and hardtanh; between 0 and a bound a ReLU."""
    bounds = [call.get(low, call.get(high)) for low, high in (("min", "min_val"), ("max", "max_val"))]
    if bounds[0] == 0 and (bounds[1] is None or (type(bounds[1]) in (int, float) and bounds[1] > 0)):
        upper = bounds[1]
        module = nn.ReLU() if upper is None else nn.ReLU6() if upper == 6 else ClippedRelu(float(upper))
        return context.elementwise(call, module, (call["self"],))
    return unknown(call, context)


def gelu(call: Call, context: Context) -> View:
    """GELU, exact or with tanh."""
    return context.elementwise(call, nn.GELU(approximate=call["approximate"]), (call["self"],))


def unknown(call: Call, context: Context) -> View:
    """An operation on single numbers that is an activation only with others, or none."""
    views = {name: value for name, value in call.arguments.items() if isinstance(value, View)}
    first = next(iter(views.values()))
    constants: dict[str, Any] = {}
    for name, value in call.arguments.items():
        if isinstance(value, Tensor) and value.dim():
            number = channelwise(value.double(), spread(first, call.shape[1:], call), call)
            if number is None:
                call.refuse("reads a constant that differs by rows and columns: expected one number for each channel")
            constants[name] = number
        else:
            constants[name] = value
    module = Elementwise(call.node.target, constants, tuple(views))  # type: ignore[arg-type]
    return context.elementwise(call, module, tuple(views.values()))


def _activation(make: Callable[[], nn.Module]) -> Callable[[Call, Context], View]:
    return lambda call, context: context.elementwise(call, make(), (call.get("self", call.get("input")),))


def _times(call: Call, context: Context, view: View, factor: float) -> View:
    if factor == 1:
        return view
    node = view.source if view.places is None else context.reader.node(view, call.node)
    numbers = torch.full(shape_of(node)[:1], float(factor))
    scaled = context.graph.call_beside(
        call.node, "scaled", channel_affine(numbers, torch.zeros_like(numbers)), (node,), shape_of(node)
    )
    mark_arithmetic(scaled)
    return View(scaled)


def _scaled(constant: Any, factor: float) -> Any:
    return constant if factor == 1 else constant * factor


ELEMENTWISE: dict[str, Callable[[Call, Context], View]] = {
    "add": add,
    **dict.fromkeys(("sub", "subtract", "rsub"), subtract),
    **dict.fromkeys(("mul", "multiply"), multiply),
    **dict.fromkeys(("div", "divide", "true_divide"), divide),
    **dict.fromkeys(("neg", "negative"), negate),
    "maximum": maximum,
    "leaky_relu": leaky_relu,
    **dict.fromkeys(("clamp", "clip", "clamp_min", "hardtanh"), clamp),
    "gelu": gelu,
    "relu": _activation(nn.ReLU),
    "relu6": _activation(nn.ReLU6),
    "sigmoid": _activation(nn.Sigmoid),
    "hardsigmoid": _activation(nn.Hardsigmoid),
    "tanh": _activation(nn.Tanh),
    "hardswish": _activation(nn.Hardswish),
    "silu": _activation(nn.SiLU),
    **dict.fromkeys(
        (
            *("clamp_max", "minimum", "abs", "square", "pow", "reciprocal", "sqrt", "rsqrt", "exp", "log", "log1p"),
            *("erf", "softplus", "mish", "elu", "selu", "celu", "threshold", "rrelu", "rrelu_with_noise", "where"),
            *(
                "gt",
                "ge",
                "lt",
                "le",
                "eq",
                "ne",
                "greater",
                "less",
                "greater_equal",
                "less_equal",
                "sign",
                "heaviside",
            ),
            *("logical_not", "logical_and", "hardshrink", "softshrink", "log_sigmoid", "expm1", "sin", "cos", "exp2"),
            *("relu_square", "threshold_backward", "masked_fill", "bitwise_not", "bitwise_and", "addcmul", "lerp"),
        ),
        unknown,
    ),
}
