"""Per-tensor activation quantizer with a learned scale and, where the target allows it, a learned zero point."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from efq.toolchain.quantizers.arithmetic import fake_quantize_tensor
from efq.toolchain.quantizers.range_search import search_tensor_range


class ActivationQuantizer(nn.Module):
    """LSQ / LSQ+ (Bhalgat et al. 2020) per tensor.

    Unsigned: integers 0 .. 2^bits - 1 with zero point 0, so that the quantizer's own clamp is the ReLU before it.
    Signed: -2^(bits-1) .. 2^(bits-1) - 1; the zero point is learned when `learn_zero_point`, else 0.
    `upper_bound` (ReLU6) limits the range the quantizer starts from.
    `enabled = False` passes values through: the float function of the network.
    """

    ARGUMENTS: ClassVar[tuple[str, ...]] = ("bits", "signed", "learn_zero_point", "upper_bound")

    def __init__(
        self, *, bits: int, signed: bool, learn_zero_point: bool = False, upper_bound: float | None = None
    ) -> None:
        super().__init__()
        self.bits = bits
        self.signed = signed
        self.learn_zero_point = learn_zero_point and signed
        self.lowest = -(2 ** (bits - 1)) if signed else 0
        self.highest = self.lowest + 2**bits - 1
        self.upper_bound = upper_bound
        self.enabled = True
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.zero_point = nn.Parameter(torch.zeros(()), requires_grad=self.learn_zero_point)

    @property
    def scale(self) -> Tensor:
        """Float32 ()."""
        return self.log_scale.exp()

    @property
    def integer_zero_point(self) -> int:
        """On this quantizer's own grid (signed or unsigned)."""
        return round(float(self.zero_point.detach().clamp(self.lowest, self.highest)))

    def start_from(self, samples: Tensor) -> None:
        """Set the range that minimizes the squared error on `samples` (any shape)."""
        with torch.no_grad():
            scale, zero_point = search_tensor_range(
                samples.clamp(max=self.upper_bound) if self.upper_bound is not None else samples,
                self.lowest,
                self.highest,
                with_zero_point=self.learn_zero_point,
            )
            self.log_scale.fill_(math.log(scale))
            self.zero_point.fill_(zero_point)

    def forward(self, values: Tensor) -> Tensor:
        if not self.enabled:
            if self.signed:
                return values
            return torch.relu(values) if self.upper_bound is None else values.clamp(0.0, self.upper_bound)
        zero_point = self.zero_point.clamp(self.lowest, self.highest)
        return fake_quantize_tensor(values, self.scale, zero_point, self.lowest, self.highest)
