"""A layer as integers, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from messages import raises_naming
from networks import random_rows

from efq.export.qdq.weights import integer_layer
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear
from efq.toolchain.quantizers import WeightQuantizer


def with_scales(module: QuantizedConv2d | QuantizedLinear | ChannelAffine, scales: list[float], bits: int = 8) -> None:
    module.weight_quantizer = WeightQuantizer(len(scales), bits)
    with torch.no_grad():
        module.weight_quantizer.log_scale.copy_(torch.tensor(scales).log())


@torch.no_grad()
def test_linear_layer_by_hand() -> None:
    """Scales 0.5 and 0.25: halves to even, saturation at 127, never -128; bias / (input scale * weight scale)."""
    layer = QuantizedLinear(4, 2)
    layer.weight.copy_(torch.tensor([[0.25, 0.75, -1.0, 100.0], [-100.0, 0.0, 0.125, 31.75]]))
    layer.bias.copy_(torch.tensor([1.0, -0.33]))
    with_scales(layer, [0.5, 0.25])
    found = integer_layer("fc", layer, 0.125)
    assert found.weights.tolist() == [[0, 2, -2, 127], [-127, 0, 0, 127]]
    assert found.bias.tolist() == [16, round(-0.33 / 0.03125)] == [16, -11]
    np.testing.assert_allclose(found.scales, [0.5, 0.25], rtol=1e-6)
    assert (found.weights.dtype, found.scales.dtype, found.bias.dtype) == (np.int8, np.float32, np.int32)


@torch.no_grad()
def test_depthwise_layer_by_hand() -> None:
    layer = QuantizedConv2d(2, 2, (1, 2), groups=2)
    layer.weight.copy_(torch.tensor([[[[1.0, -2.0]]], [[[3.0, 4.0]]]]))
    assert layer.bias is not None
    layer.bias.copy_(torch.tensor([0.0, 5.0]))
    with_scales(layer, [1.0, 2.0])
    found = integer_layer("dw", layer, 0.5)
    assert found.weights.tolist() == [[[[1, -2]]], [[[2, 2]]]]
    assert found.bias.tolist() == [0, 5]


@torch.no_grad()
def test_affine_is_a_depthwise_1x1_kernel() -> None:
    layer = ChannelAffine(3, has_bias=False)
    layer.weight.copy_(torch.tensor([0.5, -0.26, 9.0]))
    with_scales(layer, [0.01, 0.01, 0.01])
    found = integer_layer("prelu", layer, 1.0)
    assert found.weights.shape == (3, 1, 1, 1)
    assert found.weights.flatten().tolist() == [50, -26, 127]
    assert not found.bias.any()


@pytest.mark.parametrize("bits", range(2, 9))
@torch.no_grad()
def test_integers_are_those_of_the_quantizer(bits: int) -> None:
    layer = QuantizedConv2d(5, 6, 3)
    layer.weight.copy_(random_rows(6, 5, 3, 3))
    layer.weight_quantizer = WeightQuantizer(6, bits)
    layer.weight_quantizer.start_from(layer.weight)
    found = integer_layer("conv", layer, 0.02)
    restored = torch.from_numpy(found.weights).float() * torch.from_numpy(found.scales)[:, None, None, None]
    assert torch.equal(restored, layer.weight_quantizer(layer.weight))
    assert int(found.weights.min()) == -(2 ** (bits - 1)) + (bits > 4)
    assert int(found.weights.max()) == 2 ** (bits - 1) - 1


@torch.no_grad()
def test_a_bias_that_would_not_fit_gets_a_wider_scale() -> None:
    layer = QuantizedLinear(2, 2)
    layer.weight.copy_(torch.tensor([[1e-7, -1e-7], [1.0, 1.0]]))
    layer.bias.copy_(torch.tensor([-3.0, 3.0]))
    with_scales(layer, [1e-9, 1 / 127])
    found = integer_layer("fc", layer, 0.01)
    bias = found.bias.astype(np.float64) * np.float32(0.01) * found.scales
    np.testing.assert_allclose(bias, [-3.0, 3.0], rtol=1e-4)
    assert found.scales[1] == pytest.approx(1 / 127, rel=2**-9)
    assert found.weights.tolist() == [[0, 0], [127, 127]]


def test_without_a_quantizer() -> None:
    with raises_naming(UsageError, "fc", "efq-distill", "--calibrate"):
        integer_layer("fc", QuantizedLinear(2, 2), 1.0)
