"""Starting ranges: the scale (and zero point) with the least squared quantization error on samples."""

from __future__ import annotations

import torch
from torch import Tensor

from efq.toolchain.quantizers.arithmetic import dequantize, quantize
from efq.toolchain.quantizers.draws import draw_values

SMALLEST_SCALE = 1e-8
_SHARES = torch.linspace(0.3, 1.0, 36)
_SAMPLE_LIMIT = 50_000


def search_channel_scales(weight: Tensor, lowest: int, highest: int) -> Tensor:
    """`weight` (C, n) -> scales (C,) of the grid lowest..highest around 0, searched over shares of each maximum."""
    largest = weight.abs().amax(1)
    best_scale = torch.clamp(largest / highest, min=SMALLEST_SCALE)
    best_error = torch.full_like(largest, torch.inf)
    for share in _SHARES.tolist():
        scale = torch.clamp(largest * share / highest, min=SMALLEST_SCALE)
        restored = dequantize(quantize(weight, scale[:, None], 0.0, lowest, highest), scale[:, None], 0.0)
        error = (restored - weight).square().sum(1)
        better = error < best_error
        best_error = torch.where(better, error, best_error)
        best_scale = torch.where(better, scale, best_scale)
    return best_scale


def search_tensor_range(samples: Tensor, lowest: int, highest: int, *, with_zero_point: bool) -> tuple[float, int]:
    """The scale and zero point with the least squared error on `samples` (any shape, float32).

    Without a zero point the grid is symmetric around 0 (or starts at 0 where `lowest` is 0).
    """
    values = draw_values(samples.detach().float(), _SAMPLE_LIMIT, torch.Generator().manual_seed(0))
    smallest, largest = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if lowest == 0:
        candidates = [(share * largest / highest, 0) for share in _SHARES.tolist()]
    elif not with_zero_point:
        reach = max(largest / highest, smallest / lowest)
        candidates = [(share * reach, 0) for share in _SHARES.tolist()]
    else:
        candidates = _asymmetric_candidates(smallest, largest, lowest, highest)
    usable = [(max(scale, SMALLEST_SCALE), zero_point) for scale, zero_point in candidates]
    return min(usable, key=lambda found: _squared_error(values, found[0], found[1], lowest, highest))


def _asymmetric_candidates(smallest: float, largest: float, lowest: int, highest: int) -> list[tuple[float, int]]:
    shares = _SHARES[::5].tolist()
    found = []
    for low in (share * smallest for share in shares):
        for high in (share * largest for share in shares):
            scale = max((high - low) / (highest - lowest), SMALLEST_SCALE)
            found.append((scale, max(lowest, min(highest, lowest - round(low / scale)))))
    return found


def _squared_error(values: Tensor, scale: float, zero_point: int, lowest: int, highest: int) -> float:
    step = torch.tensor(scale)
    restored = dequantize(quantize(values, step, float(zero_point), lowest, highest), step, float(zero_point))
    return float((restored - values).square().sum())
