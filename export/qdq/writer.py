"""Write a student as an ONNX graph of QuantizeLinear / DequantizeLinear nodes around float operators.

The graph takes uint8 (N, H, W, 3) RGB images and gives float32 (N, d) embeddings of unit length; N is symbolic. Weights
are stored as int8, those of at most 4 bits as packed int4, their scales as bfloat16, biases as int32 or int16 (all
folded at load). Every operator an integer kernel is to run reads DequantizeLinear and is read by QuantizeLinear, so
that the runtime can fuse the three; a maximum works on the integers themselves, and so does the minimum that clamps a
grid of fewer than 8 bits; the embedding layer gives float32.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
from torch import fx, nn

from efq.export.qdq.exact_prelus import ExactPrelu, exact_prelus
from efq.export.qdq.four_pixel_stem import PIXELS, FourPixelStem, four_pixel_stem, on_four_pixels
from efq.export.qdq.graph_writer import GraphWriter
from efq.export.qdq.late_clamps import late_clamps
from efq.export.qdq.operators import convolution_attributes, operator_of
from efq.export.qdq.weights import IntegerLayer, integer_layer
from efq.export.targets import TargetProfile
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import (
    IMAGE_SCALE,
    IMAGE_ZERO_POINT,
    SCALE_PRESERVING,
    ChannelAffine,
    ImageInput,
    Maximum,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.traversal import module_of, producer
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

PACKED_BITS = 4  # weights of at most so many bits are stored two to a byte
Range = tuple[float, int]  # scale and zero point of a uint8 tensor


def build_qdq_model(student: Student, profile: TargetProfile) -> onnx.ModelProto:
    """The ONNX model of `student` for `profile`, checked by onnx's own checker.

    Raises UsageError for activations that the target cannot hold.
    """
    builder = _Builder(student, profile)
    for node in student.network.graph.nodes:
        builder.add(node)
    return builder.model()


class _Builder(GraphWriter):
    """For each student node its float value, or its 8-bit value and range."""

    def __init__(self, student: Student, profile: TargetProfile) -> None:
        super().__init__(student, profile)
        self.network = student.network
        self.values: dict[fx.Node, ir.Value] = {}
        self.integers: dict[fx.Node, ir.Value] = {}
        self.ranges: dict[fx.Node, Range] = {}
        self.late_clamps = late_clamps(student.network)
        self.fused_prelus = self._find_fused_prelus()
        self.inside_prelus = {call for prelu in self.fused_prelus.values() for call in prelu}
        self.stem: fx.Node | None = None  # the convolution written on four pixels at a time, and how
        self.stem_form: FourPixelStem | None = None
        self.size = (student.contract.height, student.contract.width)

    def add(self, node: fx.Node) -> None:
        """Write one node of the student."""
        if node in self.inside_prelus:
            return
        if node.op == "placeholder":
            self.values[node] = self.images
        elif node.op == "output":
            self._normalize(self._value(producer(node)))
        else:
            module = module_of(self.network, node)
            assert module is not None
            self._add_module(node, module)

    def _add_module(self, node: fx.Node, module: nn.Module) -> None:
        if node in self.fused_prelus:
            self._fused_prelu(node, self.fused_prelus[node])
            return
        if isinstance(module, Maximum):
            operands = [self.integers[source] for source in node.all_input_nodes]
            self._keep_integers(node, self.node("Max", operands, {}), self.ranges[producer(node)])
            if node in self.late_clamps.values():
                self._clamp(node, module_of(self.network, producer(node)))
            return
        inputs = [self._value(source) for source in node.all_input_nodes]
        match module:
            case ImageInput():
                self._image(node)
            case ActivationQuantizer():
                self._quantize(node, inputs[0], _range_of(module))
                if node not in self.late_clamps:
                    self._clamp(node, module)
                if self.stem_form is not None and producer(node) is self.stem:
                    self._separate_columns(node, self.stem, self.stem_form)
            case QuantizedConv2d() | QuantizedLinear() | ChannelAffine():
                self.values[node] = self._weighted(node, module, inputs[0])
            case _ if isinstance(module, SCALE_PRESERVING):
                moved = self.node(*operator_of(module, inputs, self.constant))
                self._quantize(node, moved, self.ranges[producer(node)])
            case _:
                self.values[node] = self.node(*operator_of(module, inputs, self.constant))

    def _find_fused_prelus(self) -> dict[fx.Node, ExactPrelu]:
        """By their maxima, the exact PReLUs that the runtime computes in the kernel of the convolution before."""
        if not self.profile.prelu_operator:
            return {}
        return {
            maximum: prelu
            for maximum, prelu in exact_prelus(self.network).items()
            if isinstance(module_of(self.network, producer(prelu.first)), QuantizedConv2d)
            and len(producer(prelu.first).users) == 1
        }

    def _fused_prelu(self, node: fx.Node, prelu: ExactPrelu) -> None:
        """PRelu of the convolution's float value, rounded once, to the grid of the maximum's operands."""
        slopes, quantizer = module_of(self.network, prelu.slopes), module_of(self.network, prelu.first)
        assert isinstance(slopes, ChannelAffine)
        assert isinstance(quantizer, ActivationQuantizer)
        bounds = _range_of(quantizer)
        layer = integer_layer(str(prelu.slopes.target), slopes, bounds[0])
        values = layer.weights.reshape(-1, 1, 1) * layer.scales.reshape(-1, 1, 1)
        product = self._value(producer(prelu.first))
        self._quantize(node, self.node("PRelu", [product, self.constant(values)], {}), bounds)
        self._clamp(node, quantizer)

    def _weighted(
        self, node: fx.Node, module: QuantizedConv2d | QuantizedLinear | ChannelAffine, value: ir.Value
    ) -> ir.Value:
        source = producer(node)
        if source not in self.ranges:
            message = f"layer {node.target!r} reads a tensor without a quantizer: make the student again"
            raise UsageError(message)
        layer = integer_layer(str(node.target), module, self.ranges[source][0])
        attributes: dict[str, Any] = {}
        if isinstance(module, QuantizedConv2d):
            attributes = convolution_attributes(module)
        if node is self.stem and self.stem_form is not None:
            layer, attributes = on_four_pixels(layer, self.stem_form), self.stem_form.attributes
        scales = self.node("Cast", [self.constant(layer.scales.astype(ml_dtypes.bfloat16))], {"to": 1})
        weight = [self._weights(layer), scales]
        if isinstance(module, QuantizedLinear):
            # ONNX Runtime fuses a Gemm, unlike a Conv, only when the weight's zero points are written out.
            weight.append(self.constant(np.zeros(len(layer.scales), dtype=np.int8)))
        operands = [value, self.node("DequantizeLinear", weight, {"axis": 0})]
        if layer.bias.any():
            operands.append(self._bias(layer, self.ranges[source][0], weight[1]))
        if isinstance(module, QuantizedLinear):
            return self.node("Gemm", operands, {"transB": 1}, str(node.target))
        if isinstance(module, ChannelAffine):
            return self.node("Conv", operands, {"group": module.weight.numel()})
        return self.node("Conv", operands, attributes, str(node.target))

    def _image(self, node: fx.Node) -> None:
        """The image's integers (N, 3, H, W), or (N, 12, H, W / 4) where its convolution takes four pixels at a time."""
        self._find_stem(node)
        value: ir.Value = self.images
        if self.stem_form is not None:
            value = self._positions(value, self.stem_form)
        channels_first = self.node("Transpose", [value], {"perm": [0, 3, 1, 2]})
        self._keep_integers(node, channels_first, (IMAGE_SCALE, IMAGE_ZERO_POINT))
        if self.profile.quantized_image:
            self._quantize(node, self._value(node), self.ranges[node])
            del self.values[node]

    def _positions(self, value: ir.Value, form: FourPixelStem) -> ir.Value:
        """Rows of pixels as rows of positions."""
        height, width = self.size
        if any(form.pad):
            left, right = form.pad
            sizes = self.constant(np.array([0, 0, left, 0, 0, 0, right, 0], np.int64))
            value = self.node("Pad", [value, sizes, self.constant(np.uint8(IMAGE_ZERO_POINT))], {})
        shape = self.constant(np.array([-1, height, form.positions(width), 3 * PIXELS], np.int64))
        return self.node("Reshape", [value, shape], {})

    def _find_stem(self, image: fx.Node) -> None:
        """The one reader of the image, when it is a convolution that can be written on four pixels."""
        readers = list(image.users)
        module = module_of(self.network, readers[0])
        if not self.profile.four_pixel_stem or len(readers) > 1 or not isinstance(module, QuantizedConv2d):
            return
        followers = [module_of(self.network, user) for user in readers[0].users]
        if [type(follower) for follower in followers] == [ActivationQuantizer]:
            self.stem, self.stem_form = readers[0], four_pixel_stem(module, *self.size)

    def _separate_columns(self, node: fx.Node, stem: fx.Node, form: FourPixelStem) -> None:
        """The stem's integers (N, columns * C, rows, positions) as (N, C, rows, columns * positions)."""
        outputs = module_of(self.network, stem).out_channels  # type: ignore[union-attr]
        height, width = self.size
        shape = self.constant(np.array([-1, height // form.stride, width // form.stride, outputs], np.int64))
        channels_last = self.node("Transpose", [self.integers[node]], {"perm": [0, 2, 3, 1]})
        separated = self.node("Reshape", [channels_last, shape], {})
        self.integers[node] = self.node("Transpose", [separated], {"perm": [0, 3, 1, 2]})

    def _weights(self, layer: IntegerLayer) -> ir.Value:
        """The int8 weights; from a packed int4 tensor by a Cast, which the runtime folds at load.

        Read as int4 by the DequantizeLinear itself, ONNX Runtime 1.32 would leave the layer in float.
        """
        if layer.bits > PACKED_BITS:
            return self.constant(layer.weights)
        packed = self.constant(layer.weights.astype(ml_dtypes.int4))
        return self.node("Cast", [packed], {"to": int(ir.DataType.INT8)})

    def _bias(self, layer: IntegerLayer, input_scale: float, weight_scales: ir.Value) -> ir.Value:
        """The bias with its scale x * w, a product the runtime folds at load: stored it takes 4 bytes a channel.

        int16 where that holds every value, which is the rule for 4-bit weights: their scales are large.
        """
        scales = self.node("Mul", [self.constant(np.float32(input_scale)), weight_scales], {})
        if np.abs(layer.bias.astype(np.int64)).max() <= np.iinfo(np.int16).max:
            narrow = self.constant(layer.bias.astype(np.int16))
            bias = self.node("Cast", [narrow], {"to": int(ir.DataType.INT32)})
        else:
            bias = self.constant(layer.bias)
        return self.node("DequantizeLinear", [bias, scales], {"axis": 0})

    def _quantize(self, node: fx.Node, value: ir.Value, bounds: Range) -> None:
        self._keep_integers(
            node, self.node("QuantizeLinear", [value, *self._scale_and_zero_point(*bounds)], {}), bounds
        )

    def _clamp(self, node: fx.Node, quantizer: nn.Module | None) -> None:
        """The top of a grid of fewer than 8 bits: bytes saturate at its bottom, 0, by themselves."""
        assert isinstance(quantizer, ActivationQuantizer)
        if quantizer.bits < 8:
            highest = self.constant(np.uint8(2**quantizer.bits - 1))
            self.integers[node] = self.node("Min", [self.integers[node], highest], {})

    def _keep_integers(self, node: fx.Node, integers: ir.Value, bounds: Range) -> None:
        self.integers[node], self.ranges[node] = integers, bounds

    def _value(self, node: fx.Node) -> ir.Value:
        """The float value of `node`, dequantized where a float operator first reads it: an unread node stays behind."""
        if node not in self.values:
            bounds = self._scale_and_zero_point(*self.ranges[node])
            self.values[node] = self.node("DequantizeLinear", [self.integers[node], *bounds], {})
        return self.values[node]

    def _scale_and_zero_point(self, scale: float, zero_point: int) -> tuple[ir.Value, ir.Value]:
        return self.constant(np.float32(scale)), self.constant(np.uint8(zero_point))

    def _normalize(self, value: ir.Value) -> None:
        self.append(
            ir.node("LpNormalization", [value], {"axis": 1, "p": 2}, outputs=[self.embeddings], name="normalization")
        )


def _range_of(quantizer: ActivationQuantizer) -> Range:
    """Scale and zero point on the uint8 grid, which starts at 0: a signed grid is shifted, the same integers."""
    return float(quantizer.scale.detach()), quantizer.integer_zero_point - quantizer.lowest
