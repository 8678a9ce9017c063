"""The stem on four pixels gives the same integers as the convolution it replaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from efq.export.stem import fits_four_pixels, on_four_pixels
from efq.export.weights import IntegerLayer
from efq.toolchain.operations import QuantizedConv2d


@pytest.mark.parametrize(("height", "width"), [(112, 112), (28, 28), (6, 4), (2, 12)])
def test_the_same_integers(height: int, width: int) -> None:
    generator = np.random.default_rng(0)
    layer = IntegerLayer(
        bits=8,
        weights=generator.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8),
        scales=generator.uniform(0.1, 1, 5).astype(np.float32),
        bias=generator.integers(-1000, 1000, 5).astype(np.int32),
    )
    image = torch.from_numpy(generator.integers(-128, 128, (2, height, width, 3)).astype(np.float32))
    folded = on_four_pixels(layer)
    wanted = functional.conv2d(
        image.permute(0, 3, 1, 2), torch.from_numpy(layer.weights).float(), torch.from_numpy(layer.bias).float(), 2, 1
    )
    wide = functional.pad(image.reshape(2, height, width // 4, 12).permute(0, 3, 1, 2), (1, 0, 1, 1))
    weights, bias = torch.from_numpy(folded.weights).float(), torch.from_numpy(folded.bias).float()
    found = functional.conv2d(wide, weights, bias, (2, 1))
    separated = found.permute(0, 2, 3, 1).reshape(2, height // 2, width // 2, 5).permute(0, 3, 1, 2)
    assert torch.equal(separated, wanted)
    np.testing.assert_array_equal(folded.scales, np.concatenate([layer.scales, layer.scales]))


def test_where_it_fits() -> None:
    stem = QuantizedConv2d(3, 8, 3, 2, 1)
    assert fits_four_pixels(stem, 112, 112)
    assert fits_four_pixels(stem, 112, 96)
    assert not fits_four_pixels(stem, 112, 110)
    assert not fits_four_pixels(stem, 111, 112)
    others = ((1, 8, 3, 2, 1), (3, 8, 5, 2, 2), (3, 8, 3, 1, 1), (3, 8, 3, 2, 0))
    assert not any(fits_four_pixels(QuantizedConv2d(*arguments), 112, 112) for arguments in others)
