"""A weighted layer as integers: int8 weights per output channel and an int32 bias with scale x * w."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from efq.runtime.errors import UsageError
from efq.toolchain.operations import ChannelAffine, WeightedOperation
from efq.toolchain.quantizers.arithmetic import quantize

_BIAS_LIMIT = float(2**30)


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntegerLayer:
    """weights int8 (outputs, ...); scales float32 (outputs,), bfloat16 numbers; bias int32 (outputs,).

    The bias's scale is the input's scale times `scales`.
    """

    weights: NDArray[np.int8]
    scales: NDArray[np.float32]
    bias: NDArray[np.int32]


@torch.no_grad()
def integer_layer(name: str, module: WeightedOperation, input_scale: float) -> IntegerLayer:
    """The integers of a layer that reads a tensor of scale `input_scale`.

    A channel whose bias would not fit int32 (its weights are next to nothing) gets a wider weight scale.
    Raises UsageError for a layer without a weight quantizer.
    """
    quantizer, bias = module.weight_quantizer, module.bias
    if quantizer is None or bias is None:
        message = f"layer {name!r} has no weight quantizer: export a student made by efq-distill, or use --calibrate"
        raise UsageError(message)
    weight = _kernel(module)
    least = bias.abs() / (input_scale * _BIAS_LIMIT)
    scales = torch.maximum(quantizer.scale, least.bfloat16().float())
    steps = scales.reshape(-1, *[1] * (weight.dim() - 1))
    integers = quantize(weight, steps, 0.0, quantizer.lowest, quantizer.highest)
    bias_scales = np.float32(input_scale) * scales.numpy()
    return IntegerLayer(
        weights=integers.numpy().astype(np.int8),
        scales=scales.numpy(),
        bias=np.rint(bias.double().numpy() / bias_scales.astype(np.float64)).astype(np.int32),
    )


def _kernel(module: WeightedOperation) -> Tensor:
    """The layer's weight as the ONNX operator takes it; a ChannelAffine is a depthwise 1x1 convolution."""
    weight = module.weight.detach()
    return weight[:, None, None, None] if isinstance(module, ChannelAffine) else weight.contiguous()
