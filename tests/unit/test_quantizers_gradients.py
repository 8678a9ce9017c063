"""Gradients of the quantizers against the formulas of LSQ and LSQ+, in float64, and a case by hand."""

from __future__ import annotations

import pytest
import torch
from networks import random_rows
from torch import Tensor

from efq.toolchain.quantizers.arithmetic import fake_quantize_channels, fake_quantize_tensor


def lsq_gradients(
    values: Tensor, gradient: Tensor, scale: float, zero_point: float, lowest: int, highest: int
) -> tuple[Tensor, float, float]:
    """Esser et al. 2020, equations 3 and 5, and Bhalgat et al. 2020, equation 7, written with the paper's cases."""
    ratio, gradient = values.double() / scale, gradient.double()
    low, high = lowest - zero_point, highest - zero_point
    inside = (ratio > low) & (ratio < high)
    clipped = torch.where(ratio <= low, torch.tensor(low, dtype=torch.float64), torch.tensor(high, dtype=torch.float64))
    along_scale = torch.where(inside, ratio.round() - ratio, clipped)
    along_zero_point = torch.where(inside, 0.0, -scale)
    return (
        gradient * inside,
        float((gradient * along_scale).sum()),
        float((gradient * along_zero_point).sum()),
    )


@pytest.mark.parametrize(("bits", "zero_point"), [(8, 0.0), (8, 17.0), (8, -40.4), (4, 2.0), (2, 0.0)])
def test_tensor_gradients_are_those_of_lsq(bits: int, zero_point: float) -> None:
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    values, weight = random_rows(3, 4, 5, 6), random_rows(3, 4, 5, 6, seed=1)
    step = 1.3 / highest
    x = values.clone().requires_grad_()
    scale = torch.tensor(step, requires_grad=True)
    offset = torch.tensor(zero_point, requires_grad=True)
    found = fake_quantize_tensor(x, scale, offset, lowest, highest)
    torch.autograd.backward((found * weight).sum())
    wanted = lsq_gradients(values, weight, float(scale.detach()), round(zero_point), lowest, highest)
    assert x.grad is not None
    assert scale.grad is not None
    assert offset.grad is not None
    assert torch.equal(x.grad.double(), wanted[0])
    assert float(scale.grad) == pytest.approx(wanted[1], rel=1e-3, abs=1e-2)
    assert float(offset.grad) == pytest.approx(wanted[2], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (4, 8, 16, 16)], ids=str)
def test_gradients_in_bfloat16(shape: tuple[int, ...]) -> None:
    """The scale's gradient is summed in float32, whatever the size."""
    values, weight = random_rows(*shape).bfloat16(), random_rows(*shape, seed=1).bfloat16()
    x, scale = values.clone().requires_grad_(), torch.tensor(0.1, requires_grad=True)
    found = fake_quantize_tensor(x, scale, torch.tensor(0.0), -8, 7)
    torch.autograd.backward((found.float() * weight.float()).sum())
    wanted = lsq_gradients(values.float(), weight.float(), 0.1, 0.0, -8, 7)
    assert scale.grad is not None
    assert scale.grad.dtype == torch.float32
    # a bfloat16 result is off by up to 2^-9 of itself
    size = float((weight.float().abs() * values.float().abs()).sum()) / 0.1
    assert float(scale.grad) == pytest.approx(wanted[1], abs=2**-8 * size)


def test_gradients_of_a_case_by_hand() -> None:
    """Scale 0.5 on 0..3: -1 and 9 are clipped (-> 0 and 1.5), 0.6 rounds to 0.5, 0.9 to 1."""
    x = torch.tensor([-1.0, 0.6, 0.9, 9.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    zero_point = torch.tensor(0.0, requires_grad=True)
    found = fake_quantize_tensor(x, scale, zero_point, 0, 3)
    assert found.tolist() == [0.0, 0.5, 1.0, 1.5]
    torch.autograd.backward(found.sum())
    assert x.grad is not None
    assert scale.grad is not None
    assert zero_point.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
    assert float(scale.grad) == pytest.approx(0 + (1 - 1.2) + (2 - 1.8) + 3, abs=1e-6)
    assert float(zero_point.grad) == pytest.approx(-0.5 * 2)


def test_channel_gradients_are_those_of_lsq() -> None:
    values, weight = random_rows(5, 3, 3, 3), random_rows(5, 3, 3, 3, seed=1)
    scales = torch.tensor([0.1, 0.2, 0.5, 0.01, 1.0], requires_grad=True)
    x = values.clone().requires_grad_()
    torch.autograd.backward((fake_quantize_channels(x, scales, -7, 7) * weight).sum())
    assert x.grad is not None
    assert scales.grad is not None
    for channel, step in enumerate(scales.tolist()):
        wanted, along_scale, _ = lsq_gradients(values[channel], weight[channel], step, 0.0, -7, 7)
        assert torch.equal(x.grad[channel].double(), wanted)
        assert float(scales.grad[channel]) == pytest.approx(along_scale, rel=1e-4, abs=1e-4)


def test_an_expanded_gradient_is_read_in_the_order_of_the_values() -> None:
    """sum() sends back one number with zero strides; channels last must not change what it means."""
    values = random_rows(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()
    torch.autograd.backward(fake_quantize_tensor(values, torch.tensor(0.1), torch.tensor(0.0), -8, 7).sum())
    inside = (values.detach() > -0.8) & (values.detach() < 0.7)
    assert values.grad is not None
    assert torch.equal(values.grad, inside.float())
