"""Scales and shifts taken into weighted operations, against the scaled values themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.scaling import scale_input, scale_output

CASES = [
    (QuantizedConv2d(4, 6, 3, 2), (2, 4, 9, 9)),
    (QuantizedConv2d(4, 8, 1, groups=2), (2, 4, 5, 5)),
    (QuantizedConv2d(4, 4, 3, groups=4), (2, 4, 5, 5)),
    (QuantizedLinear(4 * 9, 5), (2, 4 * 9)),
    (ChannelAffine(4), (2, 4, 3, 3)),
]


def by_channel(values: Tensor, like: Tensor) -> Tensor:
    """(C,) laid out for (N, C, H, W), or repeated for the C * H * W features behind a Flatten."""
    repeated = values.repeat_interleave(like.shape[1] // len(values))
    return repeated.reshape(1, -1, *[1] * (like.dim() - 2))


@pytest.mark.parametrize(("module", "shape"), CASES, ids=lambda value: str(value)[:40])
@torch.no_grad()
def test_both_sides(module: nn.Module, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator)
    weight, bias = torch.rand(4, generator=generator) + 0.5, torch.randn(4, generator=generator)
    wanted = module(values * by_channel(weight, values) + by_channel(bias, values))
    scale_input(module, weight, bias)
    torch.testing.assert_close(module(values), wanted)
    outputs = module(values)
    weight, bias = torch.rand(outputs.shape[1], generator=generator), torch.randn(outputs.shape[1], generator=generator)
    scale_output(module, weight, bias)
    torch.testing.assert_close(module(values), outputs * by_channel(weight, outputs) + by_channel(bias, outputs))
