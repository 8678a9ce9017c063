"""A weighted layer as a target stores it: int8 weights per output channel, and an int32 or a float16 bias."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import ChannelAffine, WeightedOperation
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.quantizers.arithmetic import quantize

_BIAS_LIMIT = float(2**30)
_LEAST_FLOAT16, _LARGEST_FLOAT16 = 2.0**-14, 65504.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerLayer:
    """weights int8 (outputs, ...); scales float32 (outputs,), bfloat16 numbers; bias int32 (outputs,).

    The bias's scale is the input's scale times `scales`; `bits` is the width of the weights' grid.
    """

    bits: int
    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SymmetricLayer:
    """weights int8 (outputs, ...); scales float16 (outputs,); bias float16 (outputs,), a float value."""

    weights: NDArray[np.int8]
    scales: NDArray[np.float16]
    bias: NDArray[np.float16]


@torch.no_grad()
def integer_layer(name: str, module: WeightedOperation, input_scale: float) -> IntegerLayer:
    """The integers of a layer that reads a tensor of scale `input_scale`.

    A channel whose bias would not fit int32 (its weights are next to nothing) gets a wider weight scale.
    Raises UsageError for a layer without a weight quantizer.
    """
    quantizer, bias = _quantizer_and_bias(name, module)
    least = bias.abs() / (input_scale * _BIAS_LIMIT)
    scales = torch.maximum(quantizer.scale, least.bfloat16().float())
    bias_scales = np.float32(input_scale) * scales.numpy()
    return IntegerLayer(
        bits=quantizer.bits,
        weights=_integers(module, quantizer, scales),
        scales=scales.numpy(),
        bias=np.rint(bias.double().numpy() / bias_scales.astype(np.float64)).astype(np.int32),
    )


@torch.no_grad()
def symmetric_layer(name: str, module: WeightedOperation) -> SymmetricLayer:
    """The layer with float16 scales: bfloat16 numbers are exact in float16 down to its least normal number, 2^-14.

    A channel with a smaller scale (its weights are next to nothing) gets that one. Raises UsageError for a layer
    without a weight quantizer, or with a bias beyond float16's 65,504.
    """
    quantizer, bias = _quantizer_and_bias(name, module)
    largest = float(bias.abs().max())
    if not largest <= _LARGEST_FLOAT16:
        message = f"layer {name!r} has a bias of {largest:g}: expected one within float16's {_LARGEST_FLOAT16:,.0f}"
        raise UsageError(message)
    scales = quantizer.scale.clamp(min=_LEAST_FLOAT16).half()
    return SymmetricLayer(
        weights=_integers(module, quantizer, scales.float()),
        scales=scales.numpy(),
        bias=bias.half().numpy(),
    )


def _quantizer_and_bias(name: str, module: WeightedOperation) -> tuple[WeightQuantizer, Tensor]:
    quantizer, bias = module.weight_quantizer, module.bias
    if quantizer is None or bias is None:
        message = f"layer {name!r} has no weight quantizer: export a student made by efq-distill, or use --calibrate"
        raise UsageError(message)
    return quantizer, bias.detach()


def _integers(module: WeightedOperation, quantizer: WeightQuantizer, scales: Tensor) -> NDArray[np.int8]:
    weight = _kernel(module)
    steps = scales.reshape(-1, *[1] * (weight.dim() - 1))
    return quantize(weight, steps, 0.0, quantizer.lowest, quantizer.highest).numpy().astype(np.int8)


def _kernel(module: WeightedOperation) -> Tensor:
    """The layer's weight as the ONNX operator takes it; a ChannelAffine is a depthwise 1x1 convolution."""
    weight = module.weight.detach()
    return weight[:, None, None, None] if isinstance(module, ChannelAffine) else weight.contiguous()
