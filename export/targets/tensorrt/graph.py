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
from efq.export.qdq.operators import convolution_attributes, operator_of
from efq.export.qdq.weights import symmetric_layer
from efq.export.targets import TargetProfile
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    Add,
    ChannelAffine,
    Flatten,
    ImageInput,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.traversal import module_of, producer
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student


def build_tensorrt_model(student: Student, profile: TargetProfile) -> onnx.ModelProto:
    """The ONNX model of a symmetric student, checked by onnx's own checker.

    Raises UsageError for a student whose quantizers are not symmetric 8-bit ones, or for a convolution without one.
    """
    writer = _Writer(student, profile)
    for node in student.network.graph.nodes:
        writer.add(node)
    return writer.model()


class _Writer(GraphWriter):
    """For each student node its float16 value."""

    def __init__(self, student: Student, profile: TargetProfile) -> None:
        super().__init__(student, profile)
        self.network = student.network
        self.values: dict[fx.Node, ir.Value] = {}

    def add(self, node: fx.Node) -> None:
        """Write one node of the student."""
        if node.op == "placeholder":
            self.values[node] = self.images
        elif node.op == "output":
            self._normalize(self.values[producer(node)])
        else:
            module = module_of(self.network, node)
            assert module is not None
            self.values[node] = self._module(node, module)

    def _module(self, node: fx.Node, module: nn.Module) -> ir.Value:
        inputs = [self.values[source] for source in node.all_input_nodes]
        match module:
            case ImageInput():
                return self._image(inputs[0])
            case ActivationQuantizer():
                return self._quantize(inputs[0], _scale_of(node, module), f"{node.target}")
            case QuantizedConv2d() | QuantizedLinear():
                return self._weighted(node, module, inputs[0])
            case ChannelAffine():
                product = self.node("Mul", [*inputs, self._by_channel(node, module.weight)], {})
                return self.node("Add", [product, self._by_channel(node, module.bias)], {})
            case nn.PReLU():
                return self.node("PRelu", [*inputs, self._by_channel(node, module.weight)], {}, str(node.target))
            case nn.ReLU6():
                bounds = [self.constant(np.float16(0)), self.constant(np.float16(6))]
                return self.node("Clip", [*inputs, *bounds], {}, str(node.target))
            case nn.ReLU():
                return self.node("Relu", inputs, {}, str(node.target))
        return self.node(*operator_of(module, inputs, self.constant), str(node.target))

    def _image(self, images: ir.Value) -> ir.Value:
        """(image - 128) / 128 in int8 is exact: its scale is 1 / 128."""
        pixels = self.node("Cast", [images], {"to": ir.DataType.FLOAT16.value})
        shifted = self.node("Sub", [pixels, self.constant(np.float16(IMAGE_ZERO_POINT))], {})
        scaled = self.node("Mul", [shifted, self.constant(np.float16(IMAGE_SCALE))], {})
        channels_first = self.node("Transpose", [scaled], {"perm": [0, 3, 1, 2]})
        return self._quantize(channels_first, np.float16(IMAGE_SCALE), "image_quantizer")

    def _quantize(self, value: ir.Value, scale: np.float16, name: str) -> ir.Value:
        bounds = [self.constant(scale), self.constant(np.int8(0))]
        integers = self.node("QuantizeLinear", [value, *bounds], {}, name)
        return self.node("DequantizeLinear", [integers, *bounds], {}, f"{name}_dequantize")

    def _weighted(self, node: fx.Node, module: QuantizedConv2d | QuantizedLinear, value: ir.Value) -> ir.Value:
        name = str(node.target)
        if not isinstance(module_of(self.network, producer(node)), ActivationQuantizer | ImageInput):
            message = f"layer {name!r} reads a tensor without a quantizer: make the student again"
            raise UsageError(message)
        layer = symmetric_layer(name, module)
        stored = [self.constant(layer.weights), self.constant(layer.scales)]
        stored.append(self.constant(np.zeros(len(layer.scales), np.int8)))
        weight = self.node("DequantizeLinear", stored, {"axis": 0}, f"{name}_weight")
        operands = [value, weight, self.constant(layer.bias)]
        if isinstance(module, QuantizedLinear):
            return self.node("Gemm", operands, {"transB": 1}, name)
        return self.node("Conv", operands, convolution_attributes(module), name)

    def _by_channel(self, node: fx.Node, values: Tensor) -> ir.Value:
        """(C,) values laid out to broadcast against what `node` reads, (N, C, H, W) or (N, C)."""
        shape = (-1,) if _is_flat(self.network, producer(node)) else (-1, 1, 1)
        return self.constant(values.detach().half().reshape(shape).numpy())

    def _normalize(self, value: ir.Value) -> None:
        embedding = self.node("Cast", [value], {"to": ir.DataType.FLOAT.value})
        attributes = {"axis": 1, "p": 2}
        node = ir.node("LpNormalization", [embedding], attributes, outputs=[self.embeddings], name="normalization")
        self.append(node)


def _scale_of(node: fx.Node, quantizer: ActivationQuantizer) -> np.float16:
    if quantizer.bits != 8 or not quantizer.signed or quantizer.integer_zero_point:
        message = (
            f"{node.target!r} is not an 8-bit symmetric quantizer with zero point 0, all that TensorRT takes: "
            "requantize the student first"
        )
        raise UsageError(message)
    return np.float16(float(quantizer.scale.detach()))


def _is_flat(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value is (N, C): what a Flatten or a linear layer gave."""
    module = module_of(network, node)
    if isinstance(module, Flatten | QuantizedLinear):
        return True
    elementwise = isinstance(module, ActivationQuantizer | nn.PReLU | nn.ReLU | nn.ReLU6 | ChannelAffine | Add)
    return elementwise and _is_flat(network, producer(node))
