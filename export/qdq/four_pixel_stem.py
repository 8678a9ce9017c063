"""The convolution that reads the image, written for four pixels at a time.

An integer convolution kernel wants input channels in multiples of four; an image has three, so ONNX Runtime falls back
to copying 27-byte patches. A row of W pixels of 3 channels is also a row of W / 4 positions of 12 channels: the same
bytes, no copy. A 3x3 convolution becomes one of 3x2 positions that gives several output columns at each position as
so many times the channels; the added weights are 0, so the integers are the same
(docs/decisions/0011-stem-on-four-pixels.md).

With stride 2 a position gives two columns, which read pixels -1 to 3 from its first. With stride 1 it gives four,
which read pixels -1 to 4: the image is padded by a pixel on the left (and three on the right), so that two positions
hold them.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from efq.export.qdq.weights import IntegerLayer
from efq.toolchain.graph.operations import QuantizedConv2d

PIXELS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class FourPixelStem:
    """How a 3x3 convolution of `stride` with padding 1 is written on positions of four pixels.

    columns: output columns at each position. pad: pixels to add on the left and right of the image before it is cut
    into positions. attributes: of the ONNX Conv.
    """

    stride: int

    @property
    def columns(self) -> int:
        return PIXELS // self.stride

    @property
    def pad(self) -> tuple[int, int]:
        return (1, PIXELS - 1) if self.stride == 1 else (0, 0)

    @property
    def attributes(self) -> dict[str, list[int]]:
        left = 0 if self.stride == 1 else 1
        return {"strides": [self.stride, 1], "pads": [1, left, 1, 0]}

    def positions(self, width: int) -> int:
        """Positions in a row of `width` pixels, padded."""
        return (sum(self.pad) + width) // PIXELS


def four_pixel_stem(module: QuantizedConv2d, height: int, width: int) -> FourPixelStem | None:
    """How to write the convolution on an image of that size, or None when it is not one of those."""
    shape = (module.in_channels, module.kernel_size, module.padding, module.dilation, module.groups)
    stride = module.stride[0]
    fits = shape == (3, (3, 3), (1, 1), (1, 1), 1) and module.stride in ((1, 1), (2, 2))
    return FourPixelStem(stride=stride) if fits and width % PIXELS == 0 and height % stride == 0 else None


def on_four_pixels(layer: IntegerLayer, stem: FourPixelStem) -> IntegerLayer:
    """Weights (O, 3, 3, 3) -> (columns * O, 12, 3, 2), column by column; channel c of pixel p is input channel 3 p + c.

    Output column `columns * g + side` of position g reads three pixels from stride * side - 1 of the position's first
    (of the unpadded image); a pixel before that belongs to the position before it.
    """
    outputs = len(layer.weights)
    weights = np.zeros((stem.columns, outputs, PIXELS, 3, 3, 2), np.int8)  # side, output, pixel, channel, row, position
    first = 0 if stem.stride == 1 else PIXELS - 1  # of the two positions' eight pixels, for the first column
    for side in range(stem.columns):
        for tap in range(3):
            position, pixel = divmod(first + stem.stride * side + tap, PIXELS)
            weights[side, :, pixel, :, :, position] = layer.weights[:, :, :, tap]
    return dataclasses.replace(
        layer,
        weights=weights.reshape(stem.columns * outputs, PIXELS * 3, 3, 2),
        scales=np.tile(layer.scales, stem.columns),
        bias=np.tile(layer.bias, stem.columns),
    )
