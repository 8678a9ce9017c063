"""The stem on four pixels gives the same integers as the convolution it replaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from efq.export.qdq.passes.four_pixel_stem import FourPixelStem, on_four_pixels, stem_form
from efq.export.qdq.weights import IntegerLayer
from efq.toolchain.graph.operations import QuantizedConv2d


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(112, 112), (28, 28), (6, 4), (2, 12)])
def test_the_same_integers(height: int, width: int, stride: int) -> None:
    generator = np.random.default_rng(0)
    layer = IntegerLayer(
        bits=8,
        weights=generator.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8),
        scales=generator.uniform(0.1, 1, 5).astype(np.float32),
        bias=generator.integers(-1000, 1000, 5).astype(np.int32),
    )
    image = torch.from_numpy(generator.integers(-128, 128, (2, height, width, 3)).astype(np.float32))
    wanted = functional.conv2d(
        image.permute(0, 3, 1, 2),
        torch.from_numpy(layer.weights).float(),
        torch.from_numpy(layer.bias).float(),
        stride,
        1,
    )
    stem = FourPixelStem(stride=stride)
    folded = on_four_pixels(layer, stem)
    padded = functional.pad(image, (0, 0, *stem.pad))
    wide = padded.reshape(2, height, stem.positions(width), 12).permute(0, 3, 1, 2)
    top, left, bottom, right = stem.attributes["pads"]
    weights, bias = torch.from_numpy(folded.weights).float(), torch.from_numpy(folded.bias).float()
    found = functional.conv2d(
        functional.pad(wide, (left, right, top, bottom)), weights, bias, stem.attributes["strides"]
    )
    separated = found.permute(0, 2, 3, 1).reshape(2, height // stride, width // stride, 5).permute(0, 3, 1, 2)
    assert torch.equal(separated, wanted)
    np.testing.assert_array_equal(folded.scales, np.tile(layer.scales, 4 // stride))


def test_where_it_fits() -> None:
    stem = QuantizedConv2d(3, 8, 3, 2, 1)
    assert stem_form(stem, 112, 112) == FourPixelStem(stride=2)
    assert stem_form(stem, 112, 96) == FourPixelStem(stride=2)
    assert stem_form(stem, 112, 110) is None
    assert stem_form(stem, 111, 112) is None
    assert stem_form(QuantizedConv2d(3, 8, 3, 1, 1), 111, 112) == FourPixelStem(stride=1)
    others = ((1, 8, 3, 2, 1), (3, 8, 5, 2, 2), (3, 8, 3, 3, 1), (3, 8, 3, 2, 0), (3, 8, 3, (1, 2), 1))
    assert all(stem_form(QuantizedConv2d(*arguments), 112, 112) is None for arguments in others)
