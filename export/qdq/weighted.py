"""Convolutions, matrix products and slopes: integers, with scales and biases that are folded at load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from efq.export.qdq.operators import convolution_attributes
from efq.export.qdq.weights import IntegerLayer, integer_layer
from efq.export.qdq.writer import QdqValue, QdqWriter, Quantized
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import Pad, QuantizedConv2d
from efq.toolchain.graph.walker import Call

PACKED_BITS = 4
"""Weights of at most so many bits are stored two to a byte."""


def write_convolution(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Conv."""
    source = quantized_input(call, inputs)
    return write_padded(writer, call.name, call.module, source)


def write_padded(
    writer: QdqWriter, name: str, module: QuantizedConv2d, source: Quantized, pad: Pad | None = None
) -> ir.Value:
    """The Conv of `module` on `source`, with a `pad` in front taken in."""
    value, layer = writer.float_of(source), integer_layer(name, module, source.grid.scale)
    return write_conv(writer, layer, source, value, convolution_attributes(module, pad), name)


def write_slopes(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """A depthwise 1x1 Conv, which no report needs to name."""
    source = quantized_input(call, inputs)
    value, layer = writer.float_of(source), integer_layer(call.name, call.module, source.grid.scale)
    return write_conv(writer, layer, source, value, {"group": call.module.weight.numel()})


def write_linear(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Gemm."""
    source = quantized_input(call, inputs)
    value, layer = writer.float_of(source), integer_layer(call.name, call.module, source.grid.scale)
    scales = _scales(writer, layer)
    # ONNX Runtime fuses a Gemm, unlike a Conv, only when the weight's zero points are written out.
    weight = [_weights(writer, layer), scales, writer.constant(np.zeros(len(layer.scales), dtype=np.int8))]
    operands = [value, writer.node("DequantizeLinear", weight, {"axis": 0}), *_bias(writer, layer, source, scales)]
    return writer.node("Gemm", operands, {"transB": 1}, call.name)


def write_conv(
    writer: QdqWriter,
    layer: IntegerLayer,
    source: Quantized,
    value: ir.Value,
    attributes: Mapping[str, Any],
    name: str = "",
) -> ir.Value:
    """A Conv of `layer` on `value`, which is `source` dequantized."""
    scales = _scales(writer, layer)
    weight = writer.node("DequantizeLinear", [_weights(writer, layer), scales], {"axis": 0})
    return writer.node("Conv", [value, weight, *_bias(writer, layer, source, scales)], attributes, name)


def quantized_input(call: Call, inputs: list[QdqValue]) -> Quantized:
    """What a weighted operation reads. Raises UsageError where that is not quantized."""
    if isinstance(inputs[0], Quantized):
        return inputs[0]
    message = f"layer {call.name!r} reads a tensor without a quantizer: make the student again"
    raise UsageError(message)


def _scales(writer: QdqWriter, layer: IntegerLayer) -> ir.Value:
    return writer.node("Cast", [writer.constant(layer.scales.astype(ml_dtypes.bfloat16))], {"to": 1})


def _weights(writer: QdqWriter, layer: IntegerLayer) -> ir.Value:
    """The int8 weights; from a packed int4 tensor by a Cast, which the runtime folds at load.

    Read as int4 by the DequantizeLinear itself, ONNX Runtime 1.32 would leave the layer in float.
    """
    if layer.bits > PACKED_BITS:
        return writer.constant(layer.weights)
    packed = writer.constant(layer.weights.astype(ml_dtypes.int4))
    return writer.node("Cast", [packed], {"to": int(ir.DataType.INT8)})


def _bias(writer: QdqWriter, layer: IntegerLayer, source: Quantized, weight_scales: ir.Value) -> list[ir.Value]:
    """The bias with its scale x * w, a product the runtime folds at load: stored it takes 4 bytes a channel.

    int16 where that holds every value, which is the rule for 4-bit weights: their scales are large. None where all
    are 0.
    """
    if not layer.bias.any():
        return []
    scales = writer.node("Mul", [writer.constant(np.float32(source.grid.scale)), weight_scales], {})
    if np.abs(layer.bias.astype(np.int64)).max() <= np.iinfo(np.int16).max:
        narrow = writer.constant(layer.bias.astype(np.int16))
        bias = writer.node("Cast", [narrow], {"to": int(ir.DataType.INT32)})
    else:
        bias = writer.constant(layer.bias)
    return [writer.node("DequantizeLinear", [bias, scales], {"axis": 0})]
