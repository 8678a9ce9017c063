"""Least-squares fits against brute force on small cases."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from networks import random_rows
from torch import Tensor

from efq.toolchain.lowering.activations.activation_fit import ReluFit, fit_plain_relu, fit_relu, fit_slope


def prelu(values: Tensor, slopes: Tensor) -> Tensor:
    return torch.where(values > 0, values, values * slopes)


def fitted(fit: ReluFit, values: Tensor) -> Tensor:
    return fit.scale * torch.relu(fit.sign * values + fit.shift) + fit.offset


def brute_force_error(x: Tensor, y: Tensor) -> float:
    """The least mean squared error of one channel over both signs and a kink at each sample, by NumPy."""
    errors = []
    for sign, kink in itertools.product((1.0, -1.0), sorted(x.tolist())):
        rectified = np.maximum(sign * (x.double().numpy() - kink), 0)
        design = np.stack([rectified, np.ones_like(rectified)], 1)
        solution = np.linalg.lstsq(design, y.double().numpy(), rcond=None)[0]
        errors.append(float(np.mean((design @ solution - y.double().numpy()) ** 2)))
    return min(errors)


@pytest.mark.parametrize("seed", range(4))
def test_fit_relu_is_the_best_of_all(seed: int) -> None:
    """With at most 64 samples every sample is tried as the kink."""
    x = random_rows(60, 5, seed=seed)
    y = prelu(x + 0.2 * random_rows(60, 5, seed=seed + 100), torch.tensor([-0.8, 0.0, 0.3, 0.9, 1.8]))
    fit = fit_relu(x, y)
    squared = (fitted(fit, x) - y).square().mean(0)
    for channel in range(5):
        assert float(squared[channel]) <= brute_force_error(x[:, channel], y[:, channel]) * 1.01 + 1e-6
    assert fit.error == pytest.approx(float(squared.sum() / y.var(0, correction=0).sum()), rel=1e-3)


def test_fit_relu_is_exact_where_it_can_be() -> None:
    """Slope 0 is a ReLU, slope 1 a line; a falling line needs the mirrored direction or a negative scale."""
    x = torch.linspace(-2, 3, 50)[:, None].repeat(1, 3)
    y = torch.stack([torch.relu(x[:, 0]), x[:, 1], -0.5 * x[:, 2] + 1], 1)
    fit = fit_relu(x, y)
    assert float((fitted(fit, x) - y).abs().max()) < 0.06  # the kink is at a sample
    assert fit.error < 1e-3


def test_constant_and_tiny_inputs() -> None:
    x = torch.zeros(20, 2)
    fit = fit_relu(x, torch.stack([torch.ones(20), torch.zeros(20)], 1))
    assert torch.isfinite(torch.stack([fit.scale, fit.shift, fit.offset])).all()
    assert fitted(fit, x)[0].tolist() == pytest.approx([1.0, 0.0])


def test_plain_relu_is_the_projection() -> None:
    x = random_rows(200, 3)
    y = prelu(x, torch.tensor([-0.5, 0.2, 1.5]))
    fit = fit_plain_relu(x, y)
    for channel in range(3):
        rectified = torch.relu(x[:, channel])
        wanted = float(rectified @ y[:, channel] / (rectified @ rectified))
        assert float(fit.scale[channel]) == pytest.approx(max(wanted, 1e-3), rel=1e-4)
    assert fit.sign.tolist() == [1.0] * 3
    assert not fit.shift.any()
    assert not fit.offset.any()


def test_slope_is_that_of_least_squares() -> None:
    x = random_rows(100, 4)
    slopes = torch.tensor([-0.2, 0.1, 0.3, 0.6])
    found = fit_slope(x, prelu(x, slopes))
    candidates = torch.linspace(-1, 1, 2001)
    errors = torch.stack([(prelu(x, s.repeat(4)) - prelu(x, slopes)).square().sum() for s in candidates])
    assert found == pytest.approx(float(candidates[errors.argmin()]), abs=1e-3)
    assert fit_slope(x.abs(), x.abs()) == 0.0
