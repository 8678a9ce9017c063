"""Which activation a function of one number is, told from its values, whatever arithmetic it is written with."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from efq.toolchain.graph.from_torch.context import channel_affine
from efq.toolchain.graph.from_torch.operators.layers import channel_prelu
from efq.toolchain.graph.operations import ClippedRelu, LeakyRelu

_NEAR = torch.linspace(-12.0, 12.0, 961, dtype=torch.float64)
_FAR = torch.tensor([-1000.0, -100.0, -50.0, -20.0, 20.0, 50.0, 100.0, 1000.0], dtype=torch.float64)
POINTS = torch.cat([_FAR[:4], _NEAR, _FAR[4:]])
"""Where a function is looked at, (P,) float64."""
_TOLERANCE = 1e-5
_WHOLE: tuple[Callable[[], nn.Module], ...] = (
    *(nn.Hardsigmoid, nn.Hardswish, nn.Sigmoid, nn.SiLU, nn.Tanh, nn.ReLU6),
    *(lambda: nn.GELU(), lambda: nn.GELU(approximate="tanh")),
)


def modules_of(values: Tensor) -> list[nn.Module] | None:
    """The operations that one after the other give `values` (P, C) at POINTS, float64; None where none do.

    At most a ChannelAffine, an activation and a ChannelAffine.
    """
    if not bool(torch.isfinite(values).all()):
        return None
    return _affine(values) or _piecewise(values) or _smooth(values) or _scaled_silu(values)


def _same(found: Tensor, wanted: Tensor) -> bool:
    return bool(((found - wanted).abs() <= _TOLERANCE * (1.0 + wanted.abs())).all())


def _affine(values: Tensor) -> list[nn.Module] | None:
    last, first = POINTS[-1], POINTS[0]
    slope = (values[-1] - values[0]) / (last - first)
    offset = values[0] - slope * first
    return [channel_affine(slope, offset)] if _same(slope * POINTS[:, None] + offset, values) else None


def _piecewise(values: Tensor) -> list[nn.Module] | None:
    """Two straight lines that meet, or a ramp between two numbers."""
    low = (values[1] - values[0]) / (POINTS[1] - POINTS[0])
    high = (values[-1] - values[-2]) / (POINTS[-1] - POINTS[-2])
    if not bool(low.any()) and not bool(high.any()):
        return _ramp(values)
    if bool((high.abs() < _TOLERANCE).all()):
        mirrored = _kinked(values.flip(0), -high, -low)
        ones = torch.ones_like(low)
        return None if mirrored is None else [channel_affine(-ones, 0.0 * ones), *mirrored]
    return _kinked(values, low, high)


def _kinked(values: Tensor, low: Tensor, high: Tensor) -> list[nn.Module] | None:
    """high * PReLU(x - knee) + height, its slope low / high."""
    if not bool((high.abs() > _TOLERANCE).all()):
        return None
    below, above = values[0] - low * POINTS[0], values[-1] - high * POINTS[-1]
    knee = (below - above) / (high - low)
    knee = torch.where((high - low).abs() > _TOLERANCE, knee, torch.zeros(()).double())
    knee = torch.where(knee.abs() < _TOLERANCE, torch.zeros(()).double(), knee)
    height, slopes = high * knee + above, low / high
    moved = POINTS[:, None] - knee
    if not _same(high * torch.where(moved > 0, moved, slopes * moved) + height, values):
        return None
    zero, uniform = bool((slopes.abs() < 1e-9).all()), bool((slopes - slopes[0]).abs().max() < 1e-7)
    middle = nn.ReLU() if zero else LeakyRelu(float(slopes[0])) if uniform else channel_prelu(slopes)
    return _between(knee, middle, high, height)


def _between(knee: Tensor, middle: nn.Module, scale: Tensor, offset: Tensor) -> list[nn.Module]:
    """scale * middle(x - knee) + offset, without what does nothing."""
    ones, zeros = torch.ones_like(scale), torch.zeros_like(scale)
    first = [channel_affine(ones, -knee)] if bool(knee.any()) else []
    last = [channel_affine(scale, offset)] if not (_same(scale, ones) and _same(offset, zeros)) else []
    return [*first, middle, *last]


def _ramp(values: Tensor) -> list[nn.Module] | None:
    """scale * clip(x - left, 0, width) + offset, the same for all channels; a scaled Hardsigmoid where it is one."""
    bottom, top = values[0], values[-1]
    rising = (values - bottom).abs().amax(1) > 1e-9
    inside = rising & ((values - top).abs().amax(1) > 1e-9)
    places = torch.nonzero(inside).flatten().tolist()
    if len(places) < 2:
        return None
    first, second = places[0], places[1]
    slope = (values[second] - values[first]) / (POINTS[second] - POINTS[first])
    left = POINTS[first] - (values[first] - bottom) / slope
    width = (top - bottom) / slope
    if not _same(slope * torch.clamp(POINTS[:, None] - left, min=0.0).minimum(width) + bottom, values):
        return None
    if not _same(left, left[:1].expand_as(left)) or not _same(width, width[:1].expand_as(width)):
        return None
    edge, upper = round(float(left[0]), 6), round(float(width[0]), 6)
    if (edge, upper) == (-3.0, 6.0):
        return _between(torch.zeros_like(slope), nn.Hardsigmoid(), 6.0 * slope, bottom)
    middle = nn.ReLU6() if upper == 6.0 else ClippedRelu(upper)
    return _between(torch.full_like(slope, edge), middle, slope, bottom)


def _smooth(values: Tensor) -> list[nn.Module] | None:
    """scale * activation(x) + offset."""
    for make in _WHOLE:
        module = make()
        base = module(POINTS)
        peak = int(base.argmax())
        lowest = int(base.argmin())
        scale = (values[peak] - values[lowest]) / (base[peak] - base[lowest])
        offset = values[peak] - scale * base[peak]
        offset = torch.where(offset.abs() < _TOLERANCE, torch.zeros(()).double(), offset)
        if _same(scale * base[:, None] + offset, values) and bool(scale.abs().min() > _TOLERANCE):
            return _between(torch.zeros_like(scale), module, scale, offset)
    return None


def _scaled_silu(values: Tensor) -> list[nn.Module] | None:
    """x * sigmoid(k * x), as GELU is approximated with k = 1.702: SiLU(k * x) / k."""
    one = int((POINTS - 1.0).abs().argmin())
    share = float(values[one].flatten()[0]) / float(POINTS[one])
    if not 0.5 < share < 1.0:
        return None
    factor = math.log(share / (1.0 - share))
    if not _same((POINTS * torch.sigmoid(factor * POINTS))[:, None].expand_as(values), values):
        return None
    ones = torch.ones_like(values[0])
    return [channel_affine(ones * factor, ones * 0.0), nn.SiLU(), channel_affine(ones / factor, ones * 0.0)]
