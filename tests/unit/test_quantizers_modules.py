"""The quantizer modules: what they learn, how they start, what they do when disabled."""

from __future__ import annotations

import pytest
import torch
from networks import random_rows

from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer
from efq.toolchain.quantizers.arithmetic import fake_quantize_channels


@pytest.mark.parametrize("bits", range(2, 9))
def test_activation_grids(bits: int) -> None:
    unsigned = ActivationQuantizer(bits=bits, signed=False)
    assert (unsigned.lowest, unsigned.highest) == (0, 2**bits - 1)
    signed = ActivationQuantizer(bits=bits, signed=True)
    assert (signed.lowest, signed.highest) == (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    values = random_rows(1000) * 1000
    assert set(signed(values).unique().tolist()) <= set(range(signed.lowest, signed.highest + 1))


def test_unsigned_is_the_relu_before_it() -> None:
    quantizer = ActivationQuantizer(bits=8, signed=False)
    values = random_rows(50)
    quantizer.start_from(values)
    assert torch.equal(quantizer(values), quantizer(torch.relu(values)))
    assert not quantizer.zero_point.requires_grad


def test_only_a_signed_quantizer_learns_a_zero_point() -> None:
    assert ActivationQuantizer(bits=8, signed=True, learn_zero_point=True).zero_point.requires_grad
    assert not ActivationQuantizer(bits=8, signed=True).zero_point.requires_grad
    assert not ActivationQuantizer(bits=8, signed=False, learn_zero_point=True).zero_point.requires_grad


@pytest.mark.parametrize(("learned", "integer"), [(2.5, 2), (3.5, 4), (-2.5, -2), (900.0, 127), (-900.0, -128)])
def test_integer_zero_point_is_the_one_that_forward_uses(learned: float, integer: int) -> None:
    quantizer = ActivationQuantizer(bits=8, signed=True, learn_zero_point=True)
    with torch.no_grad():
        quantizer.zero_point.fill_(learned)
    assert quantizer.integer_zero_point == integer
    assert quantizer(torch.tensor([1e6])).item() == 127 - integer
    assert quantizer(torch.tensor([-1e6])).item() == -128 - integer


def test_disabled_passes_floats_through() -> None:
    values = random_rows(20) * 10
    for quantizer, wanted in (
        (ActivationQuantizer(bits=8, signed=True), values),
        (ActivationQuantizer(bits=8, signed=False), values.clamp(min=0)),
        (ActivationQuantizer(bits=8, signed=False, upper_bound=6.0), values.clamp(0, 6)),
    ):
        quantizer.enabled = False
        assert torch.equal(quantizer(values), wanted)


def test_upper_bound_limits_the_range() -> None:
    quantizer = ActivationQuantizer(bits=8, signed=False, upper_bound=6.0)
    quantizer.start_from(torch.linspace(-10, 10, 1000))
    assert float(quantizer.scale.detach()) * 255 == pytest.approx(6.0, rel=0.02)


def test_start_from_fits_the_samples() -> None:
    values = random_rows(4, 8, 5, 5) + 2
    quantizer = ActivationQuantizer(bits=8, signed=True, learn_zero_point=True)
    quantizer.start_from(values)
    assert float((quantizer(values).detach() - values).abs().max()) < 0.05
    assert quantizer.integer_zero_point < 0


def test_gradients_reach_the_logarithm_of_the_scale() -> None:
    quantizer = ActivationQuantizer(bits=4, signed=True)
    quantizer.start_from(random_rows(100))
    torch.autograd.backward(quantizer(random_rows(100)).square().sum())
    assert quantizer.log_scale.grad is not None
    assert torch.isfinite(quantizer.log_scale.grad)
    assert float(quantizer.log_scale.grad) != 0


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_stay_on_their_grid(bits: int) -> None:
    weight = random_rows(6, 4, 3, 3)
    quantizer = WeightQuantizer(6, bits)
    quantizer.start_from(weight)
    found = quantizer(weight)
    assert torch.equal(found, fake_quantize_channels(weight, quantizer.scale, quantizer.lowest, quantizer.highest))
    assert torch.equal(quantizer.scale, quantizer.scale.bfloat16().float())  # two bytes in a file
    integers = (found / quantizer.scale.detach()[:, None, None, None]).round()
    lowest, highest = -(2 ** (bits - 1)) + (bits > 4), 2 ** (bits - 1) - 1
    assert lowest <= int(integers.min())
    assert int(integers.max()) <= highest
    error = float((found.detach() - weight).square().mean())
    assert error < {2: 0.5, 3: 0.15}.get(bits, 0.05)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_weights_of_few_bits_use_every_integer(bits: int) -> None:
    weight = 0.25 * torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1))[None]
    quantizer = WeightQuantizer(1, bits)
    quantizer.start_from(weight)
    integers = (quantizer(weight) / quantizer.scale).round().unique()
    assert integers.tolist() == list(range(-(2 ** (bits - 1)), 2 ** (bits - 1)))
