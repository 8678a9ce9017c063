"""Write a symmetric student as the ONNX graph TensorRT runs in int8: explicit Q/DQ, the rest in float16.

TensorRT's networks are strongly typed: the graph itself says what runs in which type. So activations are int8 with a
scalar float16 scale and zero point 0, weights int8 with a float16 scale for each output channel, biases float16, and
every operator between DequantizeLinear and QuantizeLinear float16; only the embedding's normalization is float32.
Weights of fewer than 8 bits are values on their grid in int8 tensors.

Requires: a student whose quantizers stand as `insert_symmetric_quantizers` puts them.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from torch import Tensor, fx, nn

from efq.export.qdq.graph_writer import GraphWriter
from efq.export.qdq.operators import convolution_attributes, move, operator_of
from efq.export.qdq.passes.pads_into_convolutions import PaddedConvolution, pads_into_convolutions
from efq.export.qdq.weights import symmetric_layer
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    ChannelAffine,
    ClippedRelu,
    ImageInput,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    SelectChannels,
    WeightedOperation,
)
from efq.toolchain.graph.traversal import is_flat, module_of, producer, share_modules
from efq.toolchain.graph.walker import Call, Handler, walk
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

OPSET_OF_GELU = 20

IMAGE_QUANTIZER = "image_quantizer"
"""The name of the QuantizeLinear that gives the image's integers."""


def build_tensorrt_model(student: Student, *, opset: int, ir_version: int) -> onnx.ModelProto:
    """The ONNX model of a symmetric student, checked by onnx's own checker.

    Raises UsageError for a student whose quantizers are not symmetric 8-bit ones, or for a convolution without one.
    """
    writer = _Writer(student)
    pads_into_convolutions(writer.network, student.contract)
    embedding = walk(writer.network, writer.images, writer.handlers())
    writer.normalize(writer.node("Cast", [embedding], {"to": ir.DataType.FLOAT.value}))
    return writer.model(opset=max(opset, writer.least_opset), ir_version=ir_version)


class _Writer(GraphWriter):
    """Every value is float16."""

    least_opset = 0

    def __init__(self, student: Student) -> None:
        super().__init__(student)
        self.network = share_modules(student.network)

    def handlers(self) -> dict[type[nn.Module], Handler[ir.Value]]:
        """How each operation is written."""
        return {
            ImageInput: self._image,
            ActivationQuantizer: self._quantizer,
            QuantizedConv2d: self._convolution,
            QuantizedLinear: self._linear,
            ChannelAffine: self._affine,
            nn.PReLU: self._prelu,
            nn.ReLU: self._relu,
            nn.ReLU6: self._relu6,
            ClippedRelu: self._clipped_relu,
            nn.SiLU: self._silu,
            nn.GELU: self._gelu,
            **dict.fromkeys((Pad, SelectChannels), self._moved),
            PaddedConvolution: self._padded_convolution,
            nn.Module: self._operator,
        }

    def _image(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        """(image - 128) / 128 in int8 is exact: its scale is 1 / 128."""
        pixels = self.node("Cast", inputs, {"to": ir.DataType.FLOAT16.value})
        shifted = self.node("Sub", [pixels, self.constant(np.float16(IMAGE_ZERO_POINT))], {})
        scaled = self.node("Mul", [shifted, self.constant(np.float16(IMAGE_SCALE))], {})
        channels_first = self.node("Transpose", [scaled], {"perm": [0, 3, 1, 2]})
        return self._quantize(channels_first, np.float16(IMAGE_SCALE), IMAGE_QUANTIZER)

    def _quantizer(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self._quantize(inputs[0], _scale_of(call), call.name)

    def _quantize(self, value: ir.Value, scale: np.float16, name: str) -> ir.Value:
        bounds = [self.constant(scale), self.constant(np.int8(0))]
        integers = self.node("QuantizeLinear", [value, *bounds], {}, name)
        return self.node("DequantizeLinear", [integers, *bounds], {}, f"{name}_dequantize")

    def _convolution(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        operands = self._operands(call.name, call.module, call.node, inputs)
        return self.node("Conv", operands, convolution_attributes(call.module), call.name)

    def _padded_convolution(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        pad, convolution = call.module.pad, call.module.convolution
        operands = self._operands(call.name, convolution, call.node, inputs)
        return self.node("Conv", operands, convolution_attributes(convolution, pad), call.name)

    def _linear(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        operands = self._operands(call.name, call.module, call.node, inputs)
        return self.node("Gemm", operands, {"transB": 1}, call.name)

    def _operands(self, name: str, module: WeightedOperation, node: fx.Node, inputs: list[ir.Value]) -> list[ir.Value]:
        if not isinstance(module_of(self.network, producer(node)), ActivationQuantizer | ImageInput):
            message = f"layer {name!r} reads a tensor without a quantizer: make the student again"
            raise UsageError(message)
        layer = symmetric_layer(name, module)
        stored = [self.constant(layer.weights), self.constant(layer.scales)]
        stored.append(self.constant(np.zeros(len(layer.scales), np.int8)))
        weight = self.node("DequantizeLinear", stored, {"axis": 0}, f"{name}_weight")
        return [*inputs, weight, self.constant(layer.bias)]

    def _affine(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        product = self.node("Mul", [*inputs, self._by_channel(call, call.module.weight)], {})
        return self.node("Add", [product, self._by_channel(call, call.module.bias)], {})

    def _prelu(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self.node("PRelu", [*inputs, self._by_channel(call, call.module.weight)], {}, call.name)

    def _relu(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self.node("Relu", inputs, {}, call.name)

    def _relu6(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self._clip(call, inputs, 6.0)

    def _clipped_relu(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self._clip(call, inputs, call.module.upper_bound)

    def _clip(self, call: Call, inputs: list[ir.Value], upper_bound: float) -> ir.Value:
        bounds = [self.constant(np.float16(0)), self.constant(np.float16(upper_bound))]
        return self.node("Clip", [*inputs, *bounds], {}, call.name)

    def _silu(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        """TensorRT's parser has no Swish; its builder fuses these two."""
        gate = self.node("Sigmoid", inputs, {}, f"{call.name}_gate")
        return self.node("Mul", [*inputs, gate], {}, call.name)

    def _gelu(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        self.least_opset = OPSET_OF_GELU
        return self._operator(call, inputs)

    def _moved(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self.node(*move(call.module, inputs[0], np.array(0, np.float16), self.constant), call.name)

    def _operator(self, call: Call, inputs: list[ir.Value]) -> ir.Value:
        return self.node(*operator_of(call.module, inputs, self.constant), call.name)

    def _by_channel(self, call: Call, values: Tensor) -> ir.Value:
        """(C,) values laid out to broadcast against what `call` reads, (N, C, H, W) or (N, C)."""
        shape = (-1,) if is_flat(self.network, producer(call.node)) else (-1, 1, 1)
        return self.constant(values.detach().half().reshape(shape).numpy())


def _scale_of(call: Call) -> np.float16:
    quantizer: ActivationQuantizer = call.module
    if quantizer.bits != 8 or not quantizer.signed or quantizer.integer_zero_point:
        message = (
            f"{call.name!r} is not an 8-bit symmetric quantizer with zero point 0, all that TensorRT takes: "
            "requantize the student first"
        )
        raise UsageError(message)
    return np.float16(float(quantizer.scale.detach()))
