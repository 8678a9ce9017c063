"""The convolution that reads the image, written for four pixels at a time.

An integer convolution kernel wants input channels in multiples of four; an image has three, so ONNX Runtime falls back
to copying 27-byte patches. A row of W pixels of 3 channels is also a row of W / 4 positions of 12 channels: the same
bytes, no copy. A 3x3 convolution of stride 2 becomes a 3x2 one of stride (2, 1) on these, which gives two output
columns at each position as twice the channels; the added weights are 0, so the integers are the same
(docs/decisions/0011-stem-on-four-pixels.md).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from efq.export.weights import IntegerLayer
from efq.toolchain.operations import QuantizedConv2d

PIXELS = 4
ATTRIBUTES = {"strides": [2, 1], "pads": [1, 1, 1, 0]}


def fits_four_pixels(module: QuantizedConv2d, height: int, width: int) -> bool:
    """Whether the convolution, on an image of that size, is one that `on_four_pixels` can write."""
    shape = (module.in_channels, module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
    return shape == (3, (3, 3), (2, 2), (1, 1), (1, 1), 1) and width % PIXELS == 0 and height % 2 == 0


def on_four_pixels(layer: IntegerLayer) -> IntegerLayer:
    """Weights (O, 3, 3, 3) -> (2 * O, 12, 3, 2): channel c of pixel p is input channel 3 * p + c; even columns first.

    Output column 2 * g + side of position g reads pixels 4 * g + 2 * side - 1 to + 1; a pixel before the position's
    first belongs to the position before it.
    """
    outputs = len(layer.weights)
    weights = np.zeros((2, outputs, PIXELS, 3, 3, 2), np.int8)  # side, output, pixel, channel, row, position
    for side in range(2):
        for tap in range(3):
            position, pixel = divmod(2 * side - 1 + tap + PIXELS, PIXELS)
            weights[side, :, pixel, :, :, position] = layer.weights[:, :, :, tap]
    return dataclasses.replace(
        layer,
        weights=weights.reshape(2 * outputs, PIXELS * 3, 3, 2),
        scales=np.tile(layer.scales, 2),
        bias=np.tile(layer.bias, 2),
    )
