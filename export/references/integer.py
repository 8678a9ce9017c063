"""A student computed in torch with the integers themselves, as ONNX Runtime's CPU kernels compute it.

Training simulates integers in float32 (`fake quantization`), which rounds a few values in a thousand differently from
an integer kernel, and each such value changes others after it. This reference does not: accumulators are exact, and the
step back to 8 bits is the kernels' own float32 arithmetic, measured bit for bit against ONNX Runtime 1.32 on x86-64:
convolution round(accumulator * ((x_scale * w_scale) / y_scale)), addition with two fused multiply-adds, product
round(x * y * ((x_scale * y_scale) / z_scale) + zero point), mean round(sum * (x_scale / (y_scale * count))). Its
embeddings are therefore the artifact's, and any difference is an error of the export.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from efq.export.qdq.passes.hardsigmoid_convolutions import (
    MOST_SHIFT,
    SLOPE_INTEGER,
    SLOPE_SCALE,
    HardsigmoidConvolution,
    hardsigmoid_convolutions,
    shift_of,
)
from efq.export.qdq.weights import integer_layer
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    SCALE_PRESERVING,
    Add,
    ChannelAffine,
    GlobalAveragePool,
    ImageInput,
    Multiply,
    QuantizedConv2d,
    QuantizedLinear,
    WeightedOperation,
)
from efq.toolchain.graph.traversal import share_modules
from efq.toolchain.graph.walker import Call, Handler, walk
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

_EXACT_IN_FLOAT32 = float(2**24)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Levels:
    """An 8-bit tensor: `integers` (float32, zero point taken off) times `scale`; `zero_point` on the uint8 grid."""

    integers: Tensor
    scale: float
    zero_point: int

    def dequantized(self) -> Tensor:
        return self.integers * self.scale


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Accumulator:
    """Exact sums of products (float32 or float64 holding integers) and the float32 scale of each channel."""

    sums: Tensor
    scales: Tensor

    def dequantized(self) -> Tensor:
        return self.sums.float() * _by_channel(self.scales, self.sums)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sum:
    """Two 8-bit tensors to be added."""

    left: _Levels
    right: _Levels


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Product:
    """Two 8-bit tensors to be multiplied."""

    left: _Levels
    right: _Levels


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Mean:
    """The sums of whole 8-bit maps of `count` numbers each, of that scale."""

    sums: Tensor
    count: int
    scale: float


_Value = _Levels | _Accumulator | _Sum | _Product | _Mean | Tensor


class IntegerReference(nn.Module):
    """uint8 (N, H, W, 3) images -> float32 (N, d) raw embeddings, with `student`'s integers.

    A Hardsigmoid is a convolution where `hardsigmoid_convolutions` makes one, as in a graph for ONNX Runtime.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.network = share_modules(student.network)
        hardsigmoid_convolutions(self.network, student.contract)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        start: _Value = images
        return _dequantized(walk(self.network, start, _HANDLERS))


def _image(call: Call, inputs: list[_Value]) -> _Value:
    (images,) = inputs
    assert isinstance(images, Tensor)
    integers = images.permute(0, 3, 1, 2).float() - IMAGE_ZERO_POINT
    return _Levels(integers=integers, scale=IMAGE_SCALE, zero_point=IMAGE_ZERO_POINT)


def _weighted(call: Call, inputs: list[_Value]) -> _Value:
    (value,) = inputs
    assert isinstance(value, _Levels)
    return _accumulate(call.name, call.module, value)


def _quantizer(call: Call, inputs: list[_Value]) -> _Value:
    return _requantize(call.module, inputs[0])


def _add(call: Call, inputs: list[_Value]) -> _Value:
    left, right = inputs
    if isinstance(left, _Levels) and isinstance(right, _Levels):
        return _Sum(left=left, right=right)
    return _in_float(call, inputs)


def _multiply(call: Call, inputs: list[_Value]) -> _Value:
    left, right = inputs
    if isinstance(left, _Levels) and isinstance(right, _Levels):
        return _Product(left=left, right=right)
    return _in_float(call, inputs)


def _mean(call: Call, inputs: list[_Value]) -> _Value:
    (value,) = inputs
    if not isinstance(value, _Levels):
        return _in_float(call, inputs)
    sums = value.integers.double().sum((2, 3), keepdim=True)
    return _Mean(sums=sums, count=value.integers[0, 0].numel(), scale=value.scale)


def _hardsigmoid_convolution(call: Call, inputs: list[_Value]) -> _Value:
    """Its sums; any other Hardsigmoid ONNX Runtime computes in float, to the same numbers as torch."""
    (value,) = inputs
    if not isinstance(value, _Levels) or shift_of(value.scale) > MOST_SHIFT:
        return _in_float(call, inputs)
    sums = value.integers.double() * SLOPE_INTEGER + shift_of(value.scale)
    scale = np.float32(value.scale) * np.float32(SLOPE_SCALE)
    return _Accumulator(sums=sums.clamp(0, 1 / float(scale)), scales=torch.full((sums.shape[1],), float(scale)))


def _scale_preserving(call: Call, inputs: list[_Value]) -> _Value:
    first = inputs[0]
    if not isinstance(first, _Levels):
        return _in_float(call, inputs)
    operands = [value.integers for value in inputs if isinstance(value, _Levels)]
    return dataclasses.replace(first, integers=call.module(*operands))


def _in_float(call: Call, inputs: list[_Value]) -> _Value:
    result: Tensor = call.module(*[_dequantized(value) for value in inputs])
    return result


def _accumulate(name: str, module: WeightedOperation, value: _Levels) -> _Accumulator:
    layer = integer_layer(name, module, value.scale)
    bound = np.abs(layer.weights.astype(np.int64)).reshape(len(layer.scales), -1).sum(1).max() * 255
    kind = torch.float32 if bound < _EXACT_IN_FLOAT32 else torch.float64
    weight = torch.from_numpy(layer.weights).to(kind)
    integers = value.integers.to(kind)
    if isinstance(module, QuantizedLinear):
        sums = functional.linear(integers, weight)
    elif isinstance(module, ChannelAffine):
        sums = functional.conv2d(integers, weight, groups=weight.shape[0])
    else:
        sums = functional.conv2d(integers, weight, None, module.stride, module.padding, module.dilation, module.groups)
    sums = sums.double() + _by_channel(torch.from_numpy(layer.bias).double(), sums)
    return _Accumulator(sums=sums, scales=torch.from_numpy(np.float32(value.scale) * layer.scales))


def _requantize(quantizer: ActivationQuantizer, value: _Value) -> _Levels:
    scale = float(quantizer.scale.detach())
    zero_point = quantizer.integer_zero_point - quantizer.lowest  # the lowest integer of the grid is 0
    match value:
        case _Accumulator():
            factors = value.scales / torch.tensor(scale, dtype=torch.float32)
            levels = torch.round(value.sums.float() * _by_channel(factors, value.sums)) + zero_point
        case _Sum():
            levels = torch.round(_sum_levels(value, np.float32(scale), zero_point))
        case _Product():
            factor = np.float32(value.left.scale) * np.float32(value.right.scale) / np.float32(scale)
            levels = torch.round(value.left.integers * value.right.integers * factor.item() + zero_point)
        case _Mean():
            factor = np.float32(value.scale) / (np.float32(scale) * np.float32(value.count))
            levels = torch.round(value.sums.float() * factor.item()) + zero_point
        case _:
            levels = torch.round(_dequantized(value) / scale) + zero_point
    return _Levels(integers=levels.clamp(0, 2**quantizer.bits - 1) - zero_point, scale=scale, zero_point=zero_point)


def _sum_levels(value: _Sum, scale: np.float32, zero_point: int) -> Tensor:
    """The uint8 level before rounding: fused multiply-adds over the raw levels, the right operand first."""
    left, right = value.left, value.right
    left_ratio, right_ratio = np.float32(left.scale) / scale, np.float32(right.scale) / scale
    right_shift = float(right_ratio * np.float32(right.zero_point))
    shift = np.float32(float(left_ratio) * left.zero_point + right_shift)  # one rounding: a fused multiply-add
    fixed = np.float32(zero_point) - shift
    inner = (right.integers + right.zero_point).double() * float(right_ratio) + float(fixed)
    outer = (left.integers + left.zero_point).double() * float(left_ratio) + inner.float().double()
    return outer.float()


def _dequantized(value: _Value) -> Tensor:
    if isinstance(value, _Sum):
        return value.left.dequantized() + value.right.dequantized()
    if isinstance(value, _Product):
        return value.left.dequantized() * value.right.dequantized()
    if isinstance(value, _Mean):
        return (value.sums * (value.scale / value.count)).float()
    return value if isinstance(value, Tensor) else value.dequantized()


def _by_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(1, -1, *[1] * (like.dim() - 2))


_HANDLERS: dict[type[nn.Module], Handler[_Value]] = {
    ImageInput: _image,
    QuantizedConv2d: _weighted,
    QuantizedLinear: _weighted,
    ChannelAffine: _weighted,
    ActivationQuantizer: _quantizer,
    Add: _add,
    Multiply: _multiply,
    HardsigmoidConvolution: _hardsigmoid_convolution,
    GlobalAveragePool: _mean,
    **dict.fromkeys(SCALE_PRESERVING, _scale_preserving),
    nn.Module: _in_float,
}
