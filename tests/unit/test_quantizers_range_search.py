"""Starting ranges: never worse than min and max, exact on a grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import random_rows
from torch import Tensor

from efq.toolchain.quantizers.arithmetic import dequantize, quantize
from efq.toolchain.quantizers.range_search import SMALLEST_SCALE, search_channel_scales, search_tensor_range


def squared_error(values: Tensor, scale: float, zero_point: float, lowest: int, highest: int) -> float:
    step = torch.tensor(scale)
    restored = dequantize(quantize(values, step, zero_point, lowest, highest), step, zero_point)
    return float((restored - values).square().sum())


def heavy_tailed(count: int, seed: int) -> Tensor:
    return random_rows(count, seed=seed) / random_rows(count, seed=seed + 1).abs().clamp(min=1e-2)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), bits=st.integers(2, 8))
def test_never_worse_than_the_extremes(seed: int, bits: int) -> None:
    values = heavy_tailed(500, seed)
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    extreme = max(float(values.max()) / highest, float(values.min()) / lowest)
    scale, zero_point = search_tensor_range(values, lowest, highest, with_zero_point=False)
    assert zero_point == 0
    assert squared_error(values, scale, 0.0, lowest, highest) <= squared_error(values, extreme, 0.0, lowest, highest)

    width = max((float(values.max()) - float(values.min())) / (highest - lowest), SMALLEST_SCALE)
    point = lowest - round(float(values.min()) / width)
    scale, zero_point = search_tensor_range(values, lowest, highest, with_zero_point=True)
    found = squared_error(values, scale, zero_point, lowest, highest)
    assert found <= squared_error(values, width, point, lowest, highest)


def test_clips_heavy_tails() -> None:
    """Of a few bits the search spends none on the outliers."""
    values = random_rows(5000) ** 3
    scale, _ = search_tensor_range(values, -8, 7, with_zero_point=False)
    extreme = float(values.abs().max()) / 7
    assert scale < 0.5 * extreme
    assert squared_error(values, scale, 0, -8, 7) < 0.8 * squared_error(values, extreme, 0, -8, 7)


@pytest.mark.parametrize(("lowest", "highest"), [(0, 255), (-128, 127), (0, 15)])
def test_exact_on_a_grid(lowest: int, highest: int) -> None:
    values = torch.arange(lowest, highest + 1).float() * 0.25
    assert search_tensor_range(values, lowest, highest, with_zero_point=False) == (0.25, 0)


def test_exact_on_a_shifted_grid() -> None:
    values = (torch.arange(-128, 128).float() + 100) * 0.5  # -14 .. 113.5
    scale, zero_point = search_tensor_range(values, -128, 127, with_zero_point=True)
    assert (scale, zero_point) == (0.5, -100)


def test_each_channel_has_its_own_scale() -> None:
    grid = torch.arange(-127, 128).float()
    assert search_channel_scales(torch.stack([grid, grid * 0.01]), -127, 127).tolist() == pytest.approx([1.0, 0.01])
    values = torch.stack([heavy_tailed(300, seed) for seed in (0, 2, 4)])
    scales = search_channel_scales(values, -7, 7)
    for row, scale in zip(values, scales.tolist(), strict=True):
        extreme = float(row.abs().max()) / 7
        assert squared_error(row, scale, 0, -7, 7) <= squared_error(row, extreme, 0, -7, 7)


def test_constant_samples_give_a_usable_scale() -> None:
    for values in (torch.zeros(10), torch.full((10,), -3.0)):
        for lowest in (0, -128):
            scale, zero_point = search_tensor_range(values, lowest, lowest + 255, with_zero_point=lowest < 0)
            assert scale >= SMALLEST_SCALE
            assert lowest <= zero_point <= lowest + 255
    assert search_channel_scales(torch.zeros(2, 3), -127, 127).tolist() == pytest.approx([SMALLEST_SCALE] * 2)


def test_a_large_sample_keeps_its_extremes() -> None:
    values = torch.zeros(200_001)
    values[1], values[2] = -2.0, 2.0 * 127 / 128
    scale, _ = search_tensor_range(values, -128, 127, with_zero_point=False)
    assert scale == pytest.approx(2 / 128)
