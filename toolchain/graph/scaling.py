"""Take a scale and shift for each channel into a weighted operation, on either side of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efq.toolchain.graph.operations import WEIGHTED, ChannelAffine, QuantizedConv2d, QuantizedLinear


@torch.no_grad()
def scale_output(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Replace f(x) of a weighted operation by weight[c] * f(x) + bias[c]; `weight`, `bias` (C,)."""
    assert isinstance(module, WEIGHTED)
    assert module.bias is not None
    module.weight.mul_(weight.reshape(-1, *[1] * (module.weight.dim() - 1)))
    module.bias.mul_(weight).add_(bias)


@torch.no_grad()
def scale_input(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Replace f(x) of a weighted operation by f(weight[c] * x + bias[c]), exact away from zero padding.

    `weight`, `bias` (C,) over the input channels; a layer behind a Flatten has C * H * W inputs.
    """
    assert isinstance(module, WEIGHTED)
    assert module.bias is not None
    if isinstance(module, ChannelAffine):
        positions = module.weight.numel() // weight.numel()
        module.bias.add_(module.weight * bias.repeat_interleave(positions))
        module.weight.mul_(weight.repeat_interleave(positions))
        return
    factors, offsets = _input_terms(module, weight), _input_terms(module, bias)
    module.bias.add_((module.weight * offsets).flatten(1).sum(1))
    module.weight.mul_(factors)


def _input_terms(module: QuantizedConv2d | QuantizedLinear, values: Tensor) -> Tensor:
    """`values` (C,) laid out to broadcast against the weight's input channels."""
    if isinstance(module, QuantizedLinear):
        return values.repeat_interleave(module.in_features // values.numel())[None]
    outputs, per_group = module.weight.shape[:2]
    grouped = values.reshape(module.groups, per_group).repeat_interleave(outputs // module.groups, 0)
    return grouped[:, :, None, None]
