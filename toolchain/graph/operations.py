"""The closed set of operations a lowered network consists of: EFQ's own, and torch's activations and pools.

Every node of a lowered graph calls one of `OPERATIONS`; `arguments_of` gives the constructor arguments that rebuild it,
as plain values.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer

IMAGE_ZERO_POINT = 128
IMAGE_SCALE = 1.0 / 128.0


class ImageInput(nn.Module):
    """uint8 (N, H, W, 3) RGB -> float32 (N, 3, H, W): DequantizeLinear with scale 1/128, zero point 128."""

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = (images.permute(0, 3, 1, 2).float() - IMAGE_ZERO_POINT) * IMAGE_SCALE
        return values


class _Weighted:
    """An operation whose weight passes a quantizer, or none."""

    weight_quantizer: WeightQuantizer | None

    @property
    def weight_bits(self) -> int | None:
        """Of the weight's quantizer, None without one."""
        return None if self.weight_quantizer is None else self.weight_quantizer.bits


class QuantizedConv2d(_Weighted, nn.Conv2d):
    """Convolution with bias whose weight passes a quantizer; without one (None) it is the float convolution."""

    ARGUMENTS: ClassVar[tuple[str, ...]] = (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
        "weight_bits",
    )

    def __init__(self, *arguments: Any, weight_bits: int | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weight_quantizer = _weight_quantizer(self.out_channels, weight_bits)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        if self.groups > 1 and (max(self.stride) > 1 or not any(self.padding)) and _is_bfloat16_on_cpu(input):
            # oneDNN has no bfloat16 gradient kernel for these: ten times slower than converting.
            with torch.autocast("cpu", enabled=False):
                return functional.conv2d(
                    input.float(), weight, self.bias, self.stride, self.padding, self.dilation, self.groups
                )
        return functional.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


def _is_bfloat16_on_cpu(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype == torch.bfloat16


class QuantizedLinear(_Weighted, nn.Linear):
    """Matrix product with bias whose weight passes a quantizer; without one (None) it is the float product."""

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("in_features", "out_features", "weight_bits")

    def __init__(self, *arguments: Any, weight_bits: int | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.weight_quantizer = _weight_quantizer(self.out_features, weight_bits)

    def forward(self, input: Tensor) -> Tensor:
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        return functional.linear(input, weight, self.bias)


class ChannelAffine(_Weighted, nn.Module):
    """weight[c] * x + bias[c] on (N, C, H, W) or (N, C), a depthwise 1x1 convolution.

    What is left of a BatchNorm; without a learned bias (`has_bias` False: it stays 0) the slopes of an exact PReLU.
    """

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("channels", "has_bias", "weight_bits")

    def __init__(self, channels: int, *, has_bias: bool = True, weight_bits: int | None = None) -> None:
        super().__init__()
        self.channels, self.has_bias = channels, has_bias
        self.weight_quantizer = _weight_quantizer(channels, weight_bits)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels), requires_grad=has_bias)

    def forward(self, values: Tensor) -> Tensor:
        weight = self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight[:, None])[:, 0]
        shape = (1, -1) + (1,) * (values.dim() - 2)
        weight, bias = weight.to(values.dtype), self.bias.to(values.dtype)  # else autocast's bfloat16 becomes float32
        return torch.addcmul(bias.reshape(shape), values, weight.reshape(shape))


def _weight_quantizer(channels: int, bits: int | None) -> WeightQuantizer | None:
    return None if bits is None else WeightQuantizer(channels, bits)


class Add(nn.Module):
    """Elementwise sum of two tensors of one shape."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left + right


class Maximum(nn.Module):
    """The larger of two tensors of one shape and one scale: on their integers it is exact."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        larger: Tensor = _Larger.apply(left, right)  # type: ignore[no-untyped-call]
        return larger


class _Larger(torch.autograd.Function):
    """The larger of two tensors; the gradient goes to `left` where it is the larger, else to `right`.

    torch.where gives the same and took half of a training step: neither its kernel nor its gradient is vectorized.
    """

    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        return torch.maximum(left, right)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor]:
        left, right = ctx.saved_tensors
        to_left: Tensor = torch.ops.aten.threshold_backward(gradients[0], left - right, 0.0)
        return to_left, gradients[0] - to_left


class Concat(nn.Module):
    """Concatenation along the channels."""

    def forward(self, *parts: Tensor) -> Tensor:
        return torch.cat(parts, 1)


class Flatten(nn.Module):
    """(N, C, H, W) -> (N, C * H * W), channels first."""

    def forward(self, values: Tensor) -> Tensor:
        return torch.flatten(values.contiguous(), 1)


class GlobalAveragePool(nn.Module):
    """(N, C, H, W) -> (N, C, 1, 1)."""

    def forward(self, values: Tensor) -> Tensor:
        return values.mean((2, 3), keepdim=True)


class Crop(nn.Module):
    """Rows top..bottom and columns left..right (end excluded) of (N, C, H, W)."""

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("top", "bottom", "left", "right")

    def __init__(self, *, top: int, bottom: int, left: int, right: int) -> None:
        super().__init__()
        self.top, self.bottom, self.left, self.right = top, bottom, left, right

    def forward(self, values: Tensor) -> Tensor:
        return values[:, :, self.top : self.bottom, self.left : self.right]


class Multiply(nn.Module):
    """Elementwise product of (N, C, H, W) with a tensor of its shape, or with (N, C, 1, 1): one gate a channel."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left * right


class Pad(nn.Module):
    """Rows and columns of zeros around (N, C, H, W)."""

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("above", "below", "before", "behind")

    def __init__(self, *, above: int, below: int, before: int, behind: int) -> None:
        super().__init__()
        self.above, self.below, self.before, self.behind = above, below, before, behind

    @property
    def edges(self) -> tuple[int, int, int, int]:
        """Above, before, below, behind: in the order of ONNX's pads."""
        return self.above, self.before, self.below, self.behind

    def forward(self, values: Tensor) -> Tensor:
        return functional.pad(values, (self.before, self.behind, self.above, self.below))


class SelectChannels(nn.Module):
    """Those channels of (N, C, H, W) or (N, C) whose numbers `channels` holds, in its order.

    A slice, a part of a split, a shuffle, or several of them after each other.
    """

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("channels",)

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = tuple(channels)

    def forward(self, values: Tensor) -> Tensor:
        first, last = self.channels[0], self.channels[-1]
        if self.channels == tuple(range(first, last + 1)):
            return values[:, first : last + 1]
        return values[:, list(self.channels)]


class ClippedRelu(nn.Module):
    """x between 0 and `upper_bound`; ReLU6 with another bound."""

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("upper_bound",)

    def __init__(self, upper_bound: float) -> None:
        super().__init__()
        self.upper_bound = upper_bound

    def forward(self, values: Tensor) -> Tensor:
        return values.clamp(0.0, self.upper_bound)


class LeakyRelu(nn.Module):
    """x where positive, slope * x elsewhere; one learned slope for the layer."""

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, values: Tensor) -> Tensor:
        return torch.where(values > 0, values, values * self.slope)


WeightedOperation = QuantizedConv2d | QuantizedLinear | ChannelAffine
WEIGHTED = (QuantizedConv2d, QuantizedLinear, ChannelAffine)
FLOAT_ACTIVATIONS = (nn.Sigmoid, nn.Hardsigmoid, nn.Tanh, nn.Hardswish, nn.SiLU, nn.GELU)
"""Elementwise functions that no integer kernel of a runtime has for all of them: between bytes, computed in float."""
SCALE_PRESERVING = (Flatten, Crop, Pad, SelectChannels, nn.MaxPool2d, Maximum)
"""Their output has the scale of their input."""
OPERATIONS: tuple[type[nn.Module], ...] = (
    ImageInput,
    QuantizedConv2d,
    QuantizedLinear,
    ChannelAffine,
    ActivationQuantizer,
    Add,
    Maximum,
    Concat,
    Flatten,
    GlobalAveragePool,
    Crop,
    Pad,
    SelectChannels,
    Multiply,
    ClippedRelu,
    LeakyRelu,
    *FLOAT_ACTIVATIONS,
    nn.ReLU,
    nn.ReLU6,
    nn.PReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
)

_TORCH_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.PReLU: ("num_parameters",),
    nn.GELU: ("approximate",),
    nn.MaxPool2d: ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    nn.AvgPool2d: ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad"),
}


def constructor_names(kind: type[nn.Module]) -> tuple[str, ...]:
    """The names of the constructor arguments that rebuild an operation of `kind`, one of `OPERATIONS`."""
    names: tuple[str, ...] = getattr(kind, "ARGUMENTS", _TORCH_ARGUMENTS.get(kind, ()))
    return names


def arguments_of(operation: nn.Module) -> dict[str, Any]:
    """The constructor arguments that rebuild `operation`, one of `OPERATIONS`."""
    return {name: getattr(operation, name) for name in constructor_names(type(operation))}
