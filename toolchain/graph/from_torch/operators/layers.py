"""Layers with weights: convolutions, products with a matrix, BatchNorm, PReLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_torch.calls import Call
from efq.toolchain.graph.from_torch.context import Context
from efq.toolchain.graph.from_torch.views import View
from efq.toolchain.graph.operations import LeakyRelu, Pad, QuantizedConv2d, QuantizedLinear

_LARGEST_VECTOR = 1 << 12  # of which a matrix is made
_ADVICE_FOR_NORMS = "has statistics of the image itself, which no integer kernel computes: train it with BatchNorm"


def pair(value: Any) -> tuple[int, int]:
    """One number for rows and columns, or one for each."""
    numbers = [value] if isinstance(value, int) else list(value)
    return int(numbers[0]), int(numbers[-1])


def convolution(call: Call, context: Context) -> View:
    """conv2d and convolution with zero padding."""
    if call.get("transposed") is True:
        return no_transposed(call, context)
    view, weight = call["input"], _constant(call, "weight")
    if weight.dim() != 4:
        return linear_map(call, context)
    node = context.maps(view, call)
    stride, dilation, padding = pair(call["stride"]), pair(call["dilation"]), call["padding"]
    if isinstance(padding, str):
        kernel = tuple(weight.shape[2:])
        total = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        node, padding = _padded(call, context, node, total)
    module = _convolution(weight, call.get("bias"), stride, pair(padding), dilation, call["groups"])
    return context.layer(call, module, node)


def _padded(call: Call, context: Context, node: fx.Node, total: list[int]) -> tuple[fx.Node, tuple[int, int]]:
    """Half of `total` on each side as the convolution's padding, an odd number's rest behind and below as a Pad."""
    above, before = (size // 2 for size in total)
    odd = [size % 2 for size in total]
    if any(odd):
        channels, height, width = node.meta["shape"]
        pad = Pad(above=above, below=above + odd[0], before=before, behind=before + odd[1])
        shape = (channels, height + total[0], width + total[1])
        return context.graph.call_beside(call.node, "pad", pad, (node,), shape), (0, 0)
    return node, (above, before)


@torch.no_grad()
def _convolution(weight: Tensor, bias: Tensor | None, *options: Any) -> QuantizedConv2d:
    stride, padding, dilation, groups = options
    outputs, inputs, *kernel = weight.shape
    result = QuantizedConv2d(inputs * groups, outputs, tuple(kernel), stride, padding, dilation, groups)
    result.weight.copy_(weight)
    assert result.bias is not None
    result.bias.copy_(torch.zeros(outputs) if bias is None else bias)
    return result


def linear(call: Call, context: Context) -> View:
    """linear: of features a matrix product, of anything else a 1x1 convolution over its last axis."""
    return _product(call, context, call["input"], _constant(call, "weight"), call.get("bias"))


def _product(call: Call, context: Context, view: View, weight: Tensor, bias: Tensor | None) -> View:
    if len(view.shape) == 1:
        return context.layer(call, _linear(weight, bias), context.features(view, call))
    places = view.all_places().movedim(-1, 1)
    channels, rest = places.shape[1], places.shape[2:]
    sizes = rest if len(rest) == 2 else (math.prod(rest), 1)
    first = View(view.source, places.reshape(len(places), channels, *sizes), view.moved_by or call.node)
    module = _convolution(weight[:, :, None, None], bias, (1, 1), (0, 0), (1, 1), 1)
    node = context.graph.call(call.node, module, (context.maps(first, call),), (len(weight), *sizes))
    result = View(node).all_places().reshape(len(places), len(weight), *rest).movedim(1, -1)
    return View(node, result, call.node)


@torch.no_grad()
def _linear(weight: Tensor, bias: Tensor | None) -> QuantizedLinear:
    result = QuantizedLinear(weight.shape[1], weight.shape[0])
    result.weight.copy_(weight)
    result.bias.copy_(torch.zeros_like(result.bias) if bias is None else bias)
    return result


def matmul(call: Call, context: Context) -> View:
    """matmul and mm of a tensor with a constant matrix."""
    left, right = call.get("self", call.get("input")), call.get("other", call.get("mat2"))
    if isinstance(left, View) and isinstance(right, Tensor) and right.dim() == 2:
        return _product(call, context, left, right.t(), None)
    return linear_map(call, context)


def addmm(call: Call, context: Context) -> View:
    """bias + x @ matrix."""
    bias, left, right = call["self"], call["mat1"], call["mat2"]
    plain = call["beta"] == call["alpha"] == 1 and isinstance(bias, Tensor) and isinstance(right, Tensor)
    if plain and isinstance(left, View):
        return _product(call, context, left, right.t(), bias.expand(right.shape[1]))
    return linear_map(call, context)


def linear_map(call: Call, context: Context) -> View:
    """Any operation that is linear in one small tensor, the rest constants: the matrix that it is.

    Raises LoweringError for two tensors of an image, or for maps.
    """
    views = [(name, value) for name, value in call.arguments.items() if isinstance(value, View)]
    lists = [(name, value) for name, value in call.arguments.items() if isinstance(value, list | tuple)]
    inside = [(name, place) for name, value in lists for place, part in enumerate(value) if isinstance(part, View)]
    if len(views) + len(inside) != 1:
        call.refuse("multiplies two tensors of the image with each other (attention): expected constant weights")
    view: View = views[0][1] if views else call[inside[0][0]][inside[0][1]]
    size = math.prod(view.shape)
    flat = View(view.source, view.all_places().reshape(2, -1), view.moved_by or call.node)
    if size > _LARGEST_VECTOR or view.of_one_image() is None:
        call.refuse()

    def applied(rows: Tensor) -> Tensor:
        arguments = dict(call.arguments)
        value = rows.reshape(len(rows), *view.shape)
        if views:
            arguments[views[0][0]] = value
        else:
            name, place = inside[0]
            arguments[name] = [value if i == place else part for i, part in enumerate(arguments[name])]
        target: Callable[..., Tensor] = call.node.target  # type: ignore[assignment]
        return target(**arguments).reshape(len(rows), -1)

    with torch.no_grad():
        offset = applied(torch.zeros(1, size))[0]
        weight = (applied(torch.eye(size)) - offset).t()
    node = context.graph.call(call.node, _linear(weight, offset), (context.features(flat, call),), (len(weight),))
    result = View(node).all_places().reshape(2, *call.shape[1:])
    return View(node, result, call.node) if len(call.shape) != 2 else View(node)


def batch_norm(call: Call, context: Context) -> View | tuple[View, None, None]:
    """Ioffe and Szegedy 2015, algorithm 2: gamma / sqrt(variance + epsilon) * (x - mean) + beta."""
    mean, variance = call.get("running_mean"), call.get("running_var")
    if call.get("training") is True or not isinstance(mean, Tensor) or not isinstance(variance, Tensor):
        call.refuse(_ADVICE_FOR_NORMS)
    weight = (variance.double() + call["eps"]).rsqrt()
    if call.get("weight") is not None:
        weight = weight * _constant(call, "weight").double()
    bias = -mean.double() * weight
    if call.get("bias") is not None:
        bias = bias + _constant(call, "bias").double()
    shape = (-1, *(1,) * (len(call["input"].shape) - 1))
    view = context.affine(call, call["input"], weight.reshape(shape), bias.reshape(shape))
    return view if call.operation == "batch_norm" else (view, None, None)


def prelu(call: Call, context: Context) -> View:
    """PReLU of one slope, or of one a channel."""
    weight = _constant(call, "weight")
    if weight.numel() == 1:
        return context.elementwise(call, LeakyRelu(float(weight)), (call["self"],))
    shape = (-1, *(1,) * (len(call["self"].shape) - 1))
    return context.on_channels(call, call["self"], (weight.reshape(shape),), channel_prelu)


@torch.no_grad()
def channel_prelu(slopes: Tensor) -> nn.PReLU:
    """PReLU of `slopes` (C,)."""
    result = nn.PReLU(len(slopes))
    result.weight.copy_(slopes)
    return result


def no_transposed(call: Call, context: Context) -> View:
    """Refused."""
    call.refuse("has no integer form: a transposed convolution makes images larger, which no recognizer needs")


def no_statistics(call: Call, context: Context) -> View:
    """Refused."""
    call.refuse(_ADVICE_FOR_NORMS)


def _constant(call: Call, name: str) -> Tensor:
    value = call.get(name)
    if not isinstance(value, Tensor):
        call.refuse(f"has a {name} that is computed from the image: expected constant weights")
    return value


LAYERS: dict[str, Callable[[Call, Context], Any]] = {
    **dict.fromkeys(("conv2d", "convolution", "_convolution", "conv1d"), convolution),
    **dict.fromkeys(("conv_transpose2d", "conv_transpose1d"), no_transposed),
    "linear": linear,
    **dict.fromkeys(("matmul", "mm"), matmul),
    "addmm": addmm,
    **dict.fromkeys(("einsum", "bmm"), linear_map),
    **dict.fromkeys(("batch_norm", "_native_batch_norm_legit_no_training"), batch_norm),
    **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"), no_statistics),
    **dict.fromkeys(("native_layer_norm", "native_group_norm"), no_statistics),
    **dict.fromkeys(("prelu", "_prelu_kernel"), prelu),
}
