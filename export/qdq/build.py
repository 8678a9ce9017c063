"""Write a student as an ONNX graph of QuantizeLinear / DequantizeLinear nodes around float operators.

The graph takes uint8 (N, H, W, 3) RGB images and gives float32 (N, d) embeddings of unit length; N is symbolic. Weights
are stored as int8, those of at most 4 bits as packed int4, their scales as bfloat16, biases as int32 or int16 (all
folded at load). Every operator an integer kernel is to run reads DequantizeLinear and is read by QuantizeLinear, so
that the runtime can fuse the three; a maximum works on the integers themselves, and so do selected channels, zeros
around maps and the minimum that clamps a grid of fewer than 8 bits; the embedding layer gives float32.

What a target wants otherwise is a pass over the student's graph before it is written (`GraphPass`).
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import numpy as np
import onnx
from torch import nn

from efq.export.qdq.operators import move, operator_of
from efq.export.qdq.passes.clamp_narrow_grids import CLAMP_NARROW_GRIDS
from efq.export.qdq.passes.graph_pass import GraphPass, QdqHandler
from efq.export.qdq.passes.pads_into_convolutions import PADS_INTO_CONVOLUTIONS
from efq.export.qdq.weighted import write_convolution, write_linear, write_slopes
from efq.export.qdq.writer import Grid, QdqValue, QdqWriter, Quantized, grid_of
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    SCALE_PRESERVING,
    ChannelAffine,
    ImageInput,
    Maximum,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    SelectChannels,
)
from efq.toolchain.graph.traversal import share_modules
from efq.toolchain.graph.walker import Call, walk
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

IMAGE_GRID = Grid(IMAGE_SCALE, IMAGE_ZERO_POINT)

_logger = logging.getLogger(__name__)


def build_qdq_model(student: Student, *, passes: Sequence[GraphPass], opset: int, ir_version: int) -> onnx.ModelProto:
    """The ONNX model of `student`, its graph rewritten by `passes` in their order, checked by onnx's own checker.

    Raises UsageError for an operation that has no such form, or a layer that reads what is not quantized.
    """
    network = share_modules(student.network)
    handlers = dict(_HANDLERS)
    for graph_pass in (CLAMP_NARROW_GRIDS, *passes, PADS_INTO_CONVOLUTIONS):
        result = graph_pass.rewrite(network, student.contract)
        _logger.debug("%s: %d", graph_pass.rewrite.__name__, result.changed)
        handlers |= graph_pass.handlers
    writer = QdqWriter(student)
    images: QdqValue = writer.images
    embedding = walk(network, images, {kind: functools.partial(write, writer) for kind, write in handlers.items()})
    writer.normalize(writer.float_of(embedding))
    return writer.model(opset=opset, ir_version=ir_version)


def _image(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """The image's integers (N, 3, H, W)."""
    return Quantized(writer.node("Transpose", [writer.images], {"perm": [0, 3, 1, 2]}), IMAGE_GRID)


def _quantizer(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    return writer.quantize(writer.float_of(inputs[0]), grid_of(call.module))


def _maximum(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Of the integers themselves: both operands are on one grid."""
    left, right = inputs
    assert isinstance(left, Quantized)
    assert isinstance(right, Quantized)
    return Quantized(writer.node("Max", [left.integers, right.integers], {}), left.grid)


def _scale_preserving(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    moved = _operator(writer, call, inputs)
    assert not isinstance(moved, Quantized)
    return writer.quantize(moved, inputs[0].grid) if isinstance(inputs[0], Quantized) else moved


def _moved(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Channels and zeros: of the integers themselves, where there are."""
    (value,) = inputs
    if isinstance(value, Quantized):
        zero = np.array(value.grid.zero_point, np.uint8)
        return Quantized(writer.node(*move(call.module, value.integers, zero, writer.constant)), value.grid)
    return writer.node(*move(call.module, value, np.array(0, np.float32), writer.constant))


def _silu(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """ONNX has no operator of it; runtimes know the two."""
    value = writer.float_of(inputs[0])
    return writer.node("Mul", [value, writer.node("Sigmoid", [value], {})], {})


def _operator(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    operands = [writer.float_of(value) for value in inputs]
    return writer.node(*operator_of(call.module, operands, writer.constant))


_HANDLERS: dict[type[nn.Module], QdqHandler] = {
    ImageInput: _image,
    ActivationQuantizer: _quantizer,
    QuantizedConv2d: write_convolution,
    QuantizedLinear: write_linear,
    ChannelAffine: write_slopes,
    **dict.fromkeys((kind for kind in SCALE_PRESERVING if kind is not Maximum), _scale_preserving),
    **dict.fromkeys((Pad, SelectChannels), _moved),
    Maximum: _maximum,
    nn.SiLU: _silu,
    nn.Module: _operator,
}
