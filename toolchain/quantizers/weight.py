"""Per-channel symmetric weight quantizer with a learned scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from efq.toolchain.quantizers.arithmetic import fake_quantize_channels
from efq.toolchain.quantizers.range_search import search_channel_scales


class WeightQuantizer(nn.Module):
    """LSQ (Esser et al. 2020) per output channel: zero point 0, integers in [-(2^(bits-1) - 1), 2^(bits-1) - 1].

    With 4 bits or fewer the lowest integer is -2^(bits-1): where there are so few, one more is worth an uneven grid.

    The scale is learned as its logarithm, so that it stays positive and one learning rate suits every channel
    (docs/decisions/0003-log-scales.md). `enabled = False` passes weights through.
    """

    def __init__(self, channels: int, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.highest = 2 ** (bits - 1) - 1
        self.lowest = -self.highest - (1 if bits <= 4 else 0)
        self.enabled = True
        self.log_scale = nn.Parameter(torch.zeros(channels))

    @property
    def scale(self) -> Tensor:
        """Float32 (channels,), each a bfloat16 number, so that a file stores it in two bytes."""
        return self.log_scale.exp().bfloat16().float()

    def start_from(self, weight: Tensor) -> None:
        """Set the scales that minimize the squared error on `weight` (channels, ...)."""
        with torch.no_grad():
            scales = search_channel_scales(weight.detach().flatten(1), self.lowest, self.highest)
            self.log_scale.copy_(scales.log())

    def forward(self, weight: Tensor) -> Tensor:
        if not self.enabled:
            return weight
        return fake_quantize_channels(weight, self.scale, self.lowest, self.highest)
