"""Least-squares fits of integer-friendly activations to PReLU, channel by channel.

PReLU is y = x for x > 0 and a * x elsewhere. `fit_relu` finds y ~ scale * relu(sign * x + shift) + offset for each
channel: the shift and the size of the scale go into the layer before, the sign and the offset into the layer after, so
the fitted form costs no more than a bare ReLU (DESIGN section 1).
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

_KINKS = 64  # quantiles of the input tried as the kink


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReluFit:
    """y ~ scale * relu(sign * x + shift) + offset; tensors of shape (C,), `sign` of +1 and -1.

    `error` is the squared error relative to the variance of the whole layer's y, summed over channels.
    """

    scale: Tensor
    sign: Tensor
    shift: Tensor
    offset: Tensor
    error: float


def fit_relu(inputs: Tensor, targets: Tensor) -> ReluFit:
    """Fit each channel of `targets` (M, C) from `inputs` (M, C).

    For a given sign and kink the best scale and offset are a linear regression in closed form; suffix sums over the
    sorted channel give the regressions of all tried kinks at once.
    """
    upward, downward = _fit_direction(inputs, targets), _fit_direction(-inputs, targets)
    mirrored = downward["error"] < upward["error"]
    best = {key: torch.where(mirrored, downward[key], upward[key]).float() for key in upward}
    variance = targets.var(0, correction=0).sum().clamp(min=1e-12)
    return ReluFit(
        scale=best["scale"],
        sign=torch.where(mirrored, -1.0, 1.0),
        shift=-best["kink"],
        offset=best["offset"],
        error=float(best["error"].sum() / variance),
    )


def fit_plain_relu(inputs: Tensor, targets: Tensor) -> ReluFit:
    """y ~ scale * relu(x) with a positive scale: for an activation whose readers cannot take a sign or an offset."""
    rectified = torch.relu(inputs)
    scale = ((rectified * targets).mean(0) / rectified.square().mean(0).clamp(min=1e-12)).clamp(min=1e-3)
    error = (scale * rectified - targets).square().mean(0).sum()
    zeros = torch.zeros_like(scale)
    variance = targets.var(0, correction=0).sum().clamp(min=1e-12)
    return ReluFit(scale=scale, sign=zeros + 1, shift=zeros, offset=zeros, error=float(error / variance))


def _fit_direction(inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The best kink, scale and offset of y ~ scale * relu(x - kink) + offset, each (C,) float64."""
    count = inputs.shape[0]
    x, order = inputs.T.contiguous().sort(1)
    y = targets.T.gather(1, order).double()
    x = x.double()
    kinks = torch.linspace(0, count - 2, min(_KINKS, count - 1)).long()
    at, above = x[:, kinks], (count - kinks).double()
    sum_x, sum_xx, sum_y, sum_xy = (_suffix_sums(values)[:, kinks] for values in (x, x * x, y, x * y))
    mean_y = y.mean(1, keepdim=True)
    mean_r = (sum_x - at * above) / count
    variance = (sum_xx - 2 * at * sum_x + at * at * above) / count - mean_r.square()
    covariance = (sum_xy - at * sum_y) / count - mean_r * mean_y
    scale = torch.where(variance > 1e-12, covariance / variance.clamp(min=1e-12), torch.zeros_like(variance))
    error = (y.var(1, correction=0, keepdim=True) - scale * covariance).clamp(min=0)
    best = error.argmin(1, keepdim=True)
    found = {"error": error, "kink": at, "scale": scale, "offset": mean_y - scale * mean_r}
    return {key: values.gather(1, best)[:, 0] for key, values in found.items()}


def _suffix_sums(values: Tensor) -> Tensor:
    """Column i of (C, M) holds the sum of columns i and after."""
    total = values.cumsum(1)
    return total[:, -1:] - total + values


def fit_slope(inputs: Tensor, targets: Tensor) -> float:
    """The one slope a with the least squared error of leaky_relu(x, a) against `targets`, both (M, C)."""
    negative = torch.clamp(inputs, max=0.0)
    wanted = torch.where(inputs > 0, torch.zeros_like(targets), targets)
    return float((negative * wanted).sum() / negative.square().sum().clamp(min=1e-12))
