"""The convolution that reads the image, written for four pixels at a time.

An integer convolution kernel wants input channels in multiples of four; an image has three, so ONNX Runtime falls back
to copying 27-byte patches. A row of W pixels of 3 channels is also a row of W / 4 positions of 12 channels: the same
bytes, no copy. A 3x3 convolution becomes one of 3x2 positions that gives several output columns at each position as
so many times the channels; the added weights are 0, so the integers are the same
(docs/decisions/0011-stem-on-four-pixels.md).

With stride 2 a position gives two columns, which read pixels -1 to 3 from its first. With stride 1 it gives four,
which read pixels -1 to 4: the image is padded by a pixel on the left (and three on the right), so that two positions
hold them.

Requires: the image is read by one convolution itself, and that by one quantizer, so no quantized image and no fused
PReLU in the stem; a 3x3 convolution on a width in fours. A network without such a stem is left as it is.
Ensures: the bytes behind the quantizer are the same.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from torch import fx, nn

from efq.export.qdq.passes.clamp_narrow_grids import Clamp
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.weighted import quantized_input, write_conv
from efq.export.qdq.weights import IntegerLayer, integer_layer
from efq.export.qdq.writer import Grid, QdqValue, QdqWriter, Quantized
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import IMAGE_SCALE, IMAGE_ZERO_POINT, ImageInput, QuantizedConv2d
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_behind, module_of, replace_module
from efq.toolchain.graph.walker import Call
from efq.toolchain.quantizers import ActivationQuantizer

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


class FourPixelImage(nn.Module):
    """uint8 (N, H, W, 3) -> the image's values (N, 12, H, positions)."""

    def __init__(self, stem: FourPixelStem, height: int, width: int) -> None:
        super().__init__()
        self.stem, self.height, self.width = stem, height, width


class FourPixelConvolution(nn.Module):
    """`convolution` on positions: (N, 12, H, positions) -> (N, columns * C, rows, positions)."""

    def __init__(self, stem: FourPixelStem, convolution: QuantizedConv2d) -> None:
        super().__init__()
        self.stem, self.convolution = stem, convolution


class SeparateColumns(nn.Module):
    """(N, columns * C, rows, positions) -> (N, C, rows, columns * positions)."""

    def __init__(self, rows: int, columns: int, channels: int) -> None:
        super().__init__()
        self.rows, self.columns, self.channels = rows, columns, channels


def four_pixel_stem(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Rewrite the stem in place where it has that form."""
    found = _find_stem(network, contract)
    if found is None:
        return PassResult(changed=0)
    image, node, convolution, stem = found
    replace_module(network, image, FourPixelImage(stem, contract.height, contract.width))
    replace_module(network, node, FourPixelConvolution(stem, convolution))
    (quantized,) = node.users
    (reader, *others) = quantized.users
    if not others and isinstance(module_of(network, reader), Clamp):
        quantized = reader
    rows, columns = contract.height // stem.stride, contract.width // stem.stride
    separate = SeparateColumns(rows, columns, convolution.out_channels)
    insert_behind(network, quantized, f"{quantized.name}_separated", separate)
    return PassResult(changed=1)


def _find_stem(
    network: fx.GraphModule, contract: InputContract
) -> tuple[fx.Node, fx.Node, QuantizedConv2d, FourPixelStem] | None:
    """The image, its one reader, that one's module and form; None for a stem that cannot be written so."""
    image = next(node for node, _ in calls(network, ImageInput))
    readers = list(image.users)
    module = module_of(network, readers[0])
    if len(readers) > 1 or not isinstance(module, QuantizedConv2d):
        return None
    followers = [type(module_of(network, user)) for user in readers[0].users]
    stem = stem_form(module, contract.height, contract.width)
    if followers != [ActivationQuantizer] or stem is None:
        return None
    return image, readers[0], module, stem


def stem_form(module: QuantizedConv2d, height: int, width: int) -> FourPixelStem | None:
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


def write_image(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Rows of pixels as rows of positions, channels first."""
    stem, value = call.module.stem, writer.images
    if any(stem.pad):
        left, right = stem.pad
        sizes = writer.constant(np.array([0, 0, left, 0, 0, 0, right, 0], np.int64))
        value = writer.node("Pad", [value, sizes, writer.constant(np.uint8(IMAGE_ZERO_POINT))], {})
    positions = stem.positions(call.module.width)
    shape = writer.constant(np.array([-1, call.module.height, positions, 3 * PIXELS], np.int64))
    value = writer.node("Reshape", [value, shape], {})
    return Quantized(writer.node("Transpose", [value], {"perm": [0, 3, 1, 2]}), Grid(IMAGE_SCALE, IMAGE_ZERO_POINT))


def write_convolution(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Conv, under its layer's name."""
    stem, source = call.module.stem, quantized_input(call, inputs)
    value = writer.float_of(source)
    layer = on_four_pixels(integer_layer(call.name, call.module.convolution, source.grid.scale), stem)
    return write_conv(writer, layer, source, value, stem.attributes, call.name)


def write_separate_columns(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Columns out of the channels."""
    (value,) = inputs
    assert isinstance(value, Quantized)
    module = call.module
    shape = writer.constant(np.array([-1, module.rows, module.columns, module.channels], np.int64))
    channels_last = writer.node("Transpose", [value.integers], {"perm": [0, 2, 3, 1]})
    separated = writer.node("Reshape", [channels_last, shape], {})
    return Quantized(writer.node("Transpose", [separated], {"perm": [0, 3, 1, 2]}), value.grid)


FOUR_PIXEL_STEM = GraphPass(
    rewrite=four_pixel_stem,
    handlers={
        FourPixelImage: write_image,
        FourPixelConvolution: write_convolution,
        SeparateColumns: write_separate_columns,
    },
)
