"""Graphs that run in int8 as written, in which the lint must find nothing."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto
from tensorrt_graphs import SCALE, GraphBuilder, exported

from tensorrt_patterns.pattern import pattern

Step = Callable[[GraphBuilder, str], str]
PADS = np.array([0, 0, 1, 1, 0, 0, 1, 1])


def activated(activation: Step) -> onnx.ModelProto:
    """Two convolutions with an activation between them."""
    build = GraphBuilder()
    value = activation(build, build.conv(build.qdq("x", "data")))
    return build.model(build.conv(build.qdq(value, "data2"), "conv2"))


def moved(*steps: Step, channels: int = 16, shape: list[int | str] | None = None) -> onnx.ModelProto:
    """A convolution behind operators that work on the integers of its data."""
    build = GraphBuilder(shape=shape)
    value = build.qdq("x", "data")
    for step in steps:
        value = step(build, value)
    return build.model(build.conv(value, channels=channels))


def on_integers(step: Step) -> onnx.ModelProto:
    """The same, between QuantizeLinear and DequantizeLinear."""
    build = GraphBuilder()
    return build.model(build.conv(build.dequantize(step(build, build.quantize("x", "data")), "data")))


def weighted(weight: Callable[[GraphBuilder], str]) -> onnx.ModelProto:
    """A convolution with this weight."""
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), weight=weight(build)))


@pattern()
def exported_prelu_network() -> onnx.ModelProto:
    return exported()


@pattern()
def exported_relu_network() -> onnx.ModelProto:
    return exported(activation="Relu", seed=1)


@pattern()
def prelu_after_convolution() -> onnx.ModelProto:
    return activated(lambda build, value: build.add("PRelu", value, build.floats((16, 1, 1))))


@pattern()
def leaky_relu_after_convolution() -> onnx.ModelProto:
    return activated(lambda build, value: build.add("LeakyRelu", value, alpha=0.1))


@pattern()
def hard_swish_after_convolution() -> onnx.ModelProto:
    return activated(lambda build, value: build.add("HardSwish", value))


@pattern()
def batchnorm_and_relu_after_convolution() -> onnx.ModelProto:
    def step(build: GraphBuilder, value: str) -> str:
        return build.add("Relu", build.add("BatchNormalization", value, *(build.bias(16) for _ in range(4))))

    return activated(step)


@pattern()
def quantizer_behind_batchnorm() -> onnx.ModelProto:
    return activated(lambda build, value: build.add("BatchNormalization", value, *(build.bias(16) for _ in range(4))))


@pattern()
def infinite_bound_of_clip() -> onnx.ModelProto:
    return activated(
        lambda build, value: build.add("Clip", value, build.constant(0.0), build.constant(np.float16(np.inf)))
    )


@pattern()
def residual_without_quantizers() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.add("Add", build.conv(build.qdq("x", "data")), "x")
    return build.model(build.conv(build.qdq(value, "data2"), "conv2"))


@pattern()
def residual_with_quantized_shortcut() -> onnx.ModelProto:
    build = GraphBuilder()
    shared = build.qdq("x", "data")
    projection = build.qdq(build.conv(shared, "projection"), "shortcut", 0.07)
    value = build.add("Add", build.conv(shared), projection)
    return build.model(build.conv(build.qdq(value, "data2"), "conv2"))


@pattern()
def squeeze_and_excitation() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.conv(build.qdq("x", "data"))
    gate = build.qdq(build.add("GlobalAveragePool", value), "pooled")
    gate = build.add("Relu", build.conv(gate, "reduce"))
    gate = build.add("Sigmoid", build.conv(build.qdq(gate, "reduced"), "expand"))
    return build.model(build.conv(build.qdq(build.add("Mul", value, gate), "data2"), "conv2"))


@pattern()
def float32_outside() -> onnx.ModelProto:
    build = GraphBuilder(input_dtype=np.float32)
    value = build.conv(build.qdq(build.add("Cast", "x", to=TensorProto.FLOAT16), "data"))
    return build.model(build.add("Cast", value, to=TensorProto.FLOAT))


@pattern()
def integers_as_output() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.quantize(build.conv(build.qdq("x", "data")), "result"))


@pattern()
def opset_25() -> onnx.ModelProto:
    build = GraphBuilder(opset=25)
    return build.model(build.conv(build.qdq("x", "data")))


@pattern()
def depthwise_and_one_channel_global() -> onnx.ModelProto:
    build = GraphBuilder()
    weight = build.weight((16, 1, 3, 3))
    value = build.add("Conv", build.qdq("x", "data"), weight, name="depthwise", group=16, pads=[1, 1, 1, 1])
    weight = build.weight((16, 1, 8, 8), name="weight2")
    return build.model(build.add("Conv", build.qdq(value, "data2"), weight, name="pool", group=16))


@pattern()
def image_of_three_channels() -> onnx.ModelProto:
    build = GraphBuilder(shape=["batch", 3, 8, 8])
    return build.model(build.add("Conv", build.qdq("x", "data"), build.weight((16, 3, 3, 3)), name="conv"))


@pattern()
def max_pool_behind_dequantize() -> onnx.ModelProto:
    return moved(lambda build, value: build.add("MaxPool", value, kernel_shape=[2, 2]))


@pattern()
def zero_padding_behind_dequantize() -> onnx.ModelProto:
    return moved(lambda build, value: build.add("Pad", value, build.constant(PADS)))


@pattern()
def slice_and_identity_behind_dequantize() -> onnx.ModelProto:
    return moved(
        lambda build, value: build.add("Identity", value),
        lambda build, value: build.add("Slice", value, *(build.constant(np.array([n])) for n in (1, 7, 2))),
    )


@pattern()
def transpose_behind_dequantize() -> onnx.ModelProto:
    return moved(lambda build, value: build.add("Transpose", value, perm=[0, 3, 1, 2]), shape=["batch", 8, 8, 16])


@pattern()
def concat_of_one_scale_behind_dequantize() -> onnx.ModelProto:
    return moved(lambda build, value: build.add("Concat", value, value, axis=1), channels=32)


@pattern()
def factor_behind_dequantize() -> onnx.ModelProto:
    return moved(lambda build, value: build.add("Mul", value, build.constant(0.5)))


@pattern()
def max_pool_on_integers() -> onnx.ModelProto:
    return on_integers(lambda build, value: build.add("MaxPool", value, kernel_shape=[2, 2]))


@pattern()
def narrow_range_on_integers() -> onnx.ModelProto:
    return on_integers(
        lambda build, value: build.add("Clip", value, build.constant(np.int8(-127)), build.constant(np.int8(127)))
    )


@pattern()
def padding_with_one_scale_on_both_sides() -> onnx.ModelProto:
    return moved(
        lambda build, value: build.add("Pad", value, build.constant(PADS)),
        lambda build, value: build.qdq(value, "data2"),
    )


@pattern()
def two_quantizers_of_one_scale() -> onnx.ModelProto:
    return moved(lambda build, value: build.qdq(value, "data2"))


@pattern()
def int8_image() -> onnx.ModelProto:
    build = GraphBuilder(input_dtype=np.int8)
    return build.model(build.conv(build.dequantize("x", "data")))


@pattern()
def type_of_quantizer_from_output_dtype() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.quantize("x", "data", SCALE, None, output_dtype=TensorProto.INT8)
    return build.model(build.conv(build.dequantize(value, "data", SCALE, None)))


@pattern()
def float32_scales_with_casts() -> onnx.ModelProto:
    build = GraphBuilder(input_dtype=np.float32)
    value = build.add("Cast", build.qdq("x", "data", np.float32(SCALE)), to=TensorProto.FLOAT16)
    scale = np.full(16, 0.01, np.float32)
    return build.model(build.conv(value, weight=build.add("Cast", build.weight(scale=scale), to=TensorProto.FLOAT16)))


@pattern()
def bfloat16_scales_with_cast() -> onnx.ModelProto:
    def weight(build: GraphBuilder) -> str:
        scale = build.constant(np.full(16, 0.01, ml_dtypes.bfloat16))
        return build.weight(scale=build.add("Cast", scale, to=TensorProto.FLOAT16))

    return weighted(weight)


@pattern()
def scale_from_arithmetic_on_constants() -> onnx.ModelProto:
    build = GraphBuilder()
    largest = build.add("Constant", name="largest", value_float=6.35)
    scale = build.add("Div", build.add("Cast", largest, to=TensorProto.FLOAT16), build.constant(127.0))
    return build.model(build.conv(build.qdq("x", "data", scale)))


@pattern()
def scale_that_is_an_input_with_a_default() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.constant(SCALE, name="scale")
    build.input("scale", [], np.float16)
    return build.model(build.conv(build.qdq("x", "data", scale)))


@pattern()
def small_float16_scales() -> onnx.ModelProto:
    return weighted(lambda build: build.weight(scale=np.full(16, 1e-5, np.float16)))


@pattern()
def weight_of_one_scale() -> onnx.ModelProto:
    return weighted(lambda build: build.weight(scale=np.float16(0.01)))


@pattern()
def weight_with_the_lowest_integer() -> onnx.ModelProto:
    return weighted(
        lambda build: build.dequantize(
            build.constant(np.full((16, 16, 3, 3), -128, np.int8)),
            "weight",
            np.full(16, 0.01, np.float16),
            None,
            axis=0,
        )
    )


@pattern()
def weight_axis_counted_from_the_end() -> onnx.ModelProto:
    return weighted(lambda build: build.weight(axis=-4))


@pattern()
def weight_transposed() -> onnx.ModelProto:
    return weighted(lambda build: build.add("Transpose", build.weight((3, 3, 16, 16), axis=3), perm=[3, 2, 0, 1]))


@pattern()
def weight_reshaped() -> onnx.ModelProto:
    return weighted(
        lambda build: build.add("Reshape", build.weight((16, 144)), build.constant(np.array([16, 16, 3, 3])))
    )


@pattern()
def weight_fake_quantized() -> onnx.ModelProto:
    scale, zero = np.full(16, 0.01, np.float16), np.zeros(16, np.int8)
    return weighted(lambda build: build.qdq(build.floats((16, 16, 3, 3)), "weight", scale, zero, axis=0))


@pattern()
def weight_fake_quantized_in_narrow_range() -> onnx.ModelProto:
    scale, zero = np.full(16, 0.01, np.float16), np.zeros(16, np.int8)

    def weight(build: GraphBuilder) -> str:
        value = build.quantize(build.floats((16, 16, 3, 3)), "weight", scale, zero, axis=0)
        value = build.add("Clip", value, build.constant(np.int8(-127)), build.constant(np.int8(127)))
        return build.dequantize(value, "weight", scale, zero, axis=0)

    return weighted(weight)


@pattern()
def weight_in_a_constant_node() -> onnx.ModelProto:
    values = onnx.numpy_helper.from_array(np.ones((16, 16, 3, 3), np.int8))
    scale = np.full(16, 0.01, np.float16)
    return weighted(lambda build: build.dequantize(build.add("Constant", value=values), "weight", scale, None, axis=0))


@pattern()
def weight_of_two_convolutions() -> onnx.ModelProto:
    build = GraphBuilder()
    weight = build.weight()
    value = build.conv(build.qdq("x", "data"), weight=weight)
    return build.model(build.conv(build.qdq(value, "data2"), "conv2", weight=weight))


@pattern()
def gemm_not_transposed() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), build.weight((1024, 32), axis=1), transB=0))


@pattern()
def gemm_with_transposed_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    weight = build.add("Transpose", build.weight((32, 1024)), perm=[1, 0])
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), weight, transB=0))


@pattern()
def gemm_with_scales_of_one_element() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(build.flatten("x"), "data", np.full(1, SCALE, np.float16))
    return build.model(build.gemm(value, build.weight((32, 1024), scale=np.full(1, 0.01, np.float16))))


@pattern()
def flatten_behind_dequantize() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.flatten(build.qdq("x", "data"))))


@pattern()
def matmul_and_add() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(build.flatten("x"), "data")
    value = build.add("MatMul", value, build.weight((1024, 32), axis=1), name="product")
    return build.model(build.add("Add", value, build.bias(32)))


@pattern()
def quantizers_of_microsoft() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", domain="com.microsoft")))


@pattern(verdict="float")
def float_convolution() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv("x", weight=build.floats((16, 16, 3, 3))))


@pattern(verdict="float", operator="head")
def float_head_behind_int8() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.flatten(build.conv(build.qdq("x", "data")))
    return build.model(build.gemm(value, build.floats((32, 1024)), "head"))
