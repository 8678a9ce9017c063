"""Draws: every part of a tensor in proportion, the extremes in any case."""

from __future__ import annotations

import pytest
import torch

from efq.toolchain.quantizers.draws import draw_rows, draw_values


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("shape", [(32, 384, 4, 4), (32, 512, 1, 1), (8, 16, 56, 48), (64, 1024)])
@pytest.mark.parametrize("axis", [1, -1])
def test_every_channel_and_column_in_proportion(shape: tuple[int, ...], axis: int) -> None:
    """Strides draw one column of 4, and every other channel of 512."""
    sizes = [1] * len(shape)
    sizes[axis] = shape[axis]
    places = torch.arange(shape[axis]).reshape(sizes).expand(shape).float()
    drawn = draw_values(places, 10_000, generator())
    assert drawn.numel() == 10_002
    counts = torch.bincount(drawn.long(), minlength=shape[axis]) / drawn.numel()
    expected = 1 / shape[axis]
    assert float((counts - expected).abs().max()) < 6 * (expected / 10_000) ** 0.5 + 2e-4


def test_the_extremes_are_drawn_always() -> None:
    values = torch.zeros(100_000)
    values[123], values[77_777] = -3.0, 5.0
    drawn = draw_values(values, 10, generator())
    assert (float(drawn.min()), float(drawn.max())) == (-3.0, 5.0)


def test_few_values_are_all_taken_and_copied() -> None:
    values = torch.arange(6.0).reshape(2, 3)
    drawn = draw_values(values, 6, generator())
    assert drawn.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    values[0, 0] = 9.0
    assert float(drawn[0]) == 0.0


def test_rows_of_two_tensors_by_one_seed_are_the_same_rows() -> None:
    first, second = torch.arange(5000.0)[:, None], torch.arange(5000.0)[:, None] * 2
    assert torch.equal(draw_rows(first, 100, generator()) * 2, draw_rows(second, 100, generator()))
    assert draw_rows(first, 5000, generator()) is first
