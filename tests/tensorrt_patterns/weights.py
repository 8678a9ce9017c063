"""Patterns of the operands of convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from tensorrt_graphs import INT4, GraphBuilder

from tensorrt_patterns.pattern import pattern


def between(operator: Callable[[GraphBuilder, str], str]) -> onnx.ModelProto:
    """A convolution with an operator between it and the DequantizeLinear of its data."""
    build = GraphBuilder()
    return build.model(build.conv(operator(build, build.qdq("x", "data"))))


@pattern("float", "weight-only-convolution conv")
def weight_only() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv("x", weight=build.weight()))


@pattern("float", "weight-only-convolution conv")
def weight_only_in_int4() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv("x", weight=build.weight(dtype=INT4)))


@pattern("float", "weight-only-convolution conv")
def relu_behind_dequantize() -> onnx.ModelProto:
    return between(lambda build, value: build.add("Relu", value))


@pattern("float", "weight-only-convolution conv")
def prelu_behind_dequantize() -> onnx.ModelProto:
    return between(lambda build, value: build.add("PRelu", value, build.floats((16, 1, 1))))


@pattern("float", "weight-only-convolution conv")
def batchnorm_behind_dequantize() -> onnx.ModelProto:
    return between(lambda build, value: build.add("BatchNormalization", value, *(build.bias(16) for _ in range(4))))


@pattern("float", "weight-only-convolution conv")
def average_pool_behind_dequantize() -> onnx.ModelProto:
    return between(lambda build, value: build.add("AveragePool", value, kernel_shape=[2, 2]))


@pattern("float", "weight-only-convolution conv")
def global_pool_behind_dequantize() -> onnx.ModelProto:
    return between(lambda build, value: build.add("GlobalAveragePool", value))


@pattern("float", "weight-only-convolution conv")
def resize_behind_dequantize() -> onnx.ModelProto:
    sizes = np.array([1, 1, 2, 2], np.float32)
    return between(lambda build, value: build.add("Resize", value, "", build.constant(sizes), mode="nearest"))


@pattern("float", "weight-only-convolution conv")
def multiplication_per_channel_behind_dequantize() -> onnx.ModelProto:
    return between(lambda build, value: build.add("Mul", value, build.floats((16, 1, 1))))


@pattern("float", "weight-only-convolution conv")
def padding_with_one_behind_dequantize() -> onnx.ModelProto:
    pads = np.array([0, 0, 1, 1, 0, 0, 1, 1])
    return between(lambda build, value: build.add("Pad", value, build.constant(pads), build.constant(1.0)))


@pattern("float", "weight-only-convolution conv")
def concat_of_two_scales() -> onnx.ModelProto:
    build = GraphBuilder()
    joined = build.add("Concat", build.qdq("x", "first", 0.05), build.qdq("x", "second", 0.07), axis=1)
    return build.model(build.conv(joined, channels=32))


@pattern("float", "weight-only-convolution conv")
def concat_with_float_data() -> onnx.ModelProto:
    build = GraphBuilder()
    joined = build.add("Concat", build.qdq("x", "data"), "x", axis=1)
    return build.model(build.conv(joined, channels=32))


@pattern("float", "activation-only-operator conv", remedy="DequantizeLinear")
def float_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), weight=build.floats((16, 16, 3, 3))))


@pattern("float", "activation-only-operator gemm", remedy="DequantizeLinear", operator="gemm")
def float_weight_of_gemm() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), build.floats((32, 1024))))


@pattern("float", "activation-only-operator product", remedy="DequantizeLinear", operator="product")
def float_weight_of_matmul() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(build.flatten("x"), "data")
    return build.model(build.add("MatMul", value, build.floats((1024, 32)), name="product"))


@pattern("float", "activation-only-operator conv", remedy="DequantizeLinear")
def relu_on_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), weight=build.add("Relu", build.weight())))


@pattern("float", "weight-axis weight.dequantize", remedy="output channel")
def axis_of_convolution() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), weight=build.weight(axis=1)))


@pattern("float", "weight-axis weight.dequantize", remedy="axis")
def axis_left_out() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.dequantize(build.integers((16, 16, 3, 3)), "weight", np.full(16, 0.01, np.float16), None)
    return build.model(build.conv(build.qdq("x", "data"), weight=tensor))


@pattern("float", "weight-axis weight.dequantize", remedy="output channel")
def axis_after_transpose() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.add("Transpose", build.weight((3, 3, 16, 16), axis=2), perm=[3, 2, 0, 1])
    return build.model(build.conv(build.qdq("x", "data"), weight=tensor))


@pattern("float", "weight-axis weight.dequantize", remedy="output channel", operator="gemm")
def axis_of_gemm() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), build.weight((32, 1024), axis=1)))


@pattern("float", "weight-axis weight.dequantize", remedy="output channel", operator="gemm")
def axis_of_gemm_not_transposed() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), build.weight((1024, 32)), transB=0))


@pattern("float", "weight-axis weight.dequantize", remedy="output channel", operator="product")
def axis_of_matmul() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(build.flatten("x"), "data")
    return build.model(build.add("MatMul", value, build.weight((1024, 32)), name="product"))


@pattern("float", "quantized-transposed-convolution deconv", remedy="Conv", operator="deconv")
def transposed_convolution() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.weight((16, 32, 2, 2), axis=1)
    return build.model(build.add("ConvTranspose", build.qdq("x", "data"), tensor, name="deconv", strides=[2, 2]))


@pattern("refused", "quantized-constant-moved narrow", remedy="DequantizeLinear", text="only allowed before DQ")
def clip_on_integers_of_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    bounds = [build.constant(np.int8(-127)), build.constant(np.int8(127))]
    tensor = build.add("Clip", build.integers((16, 16, 3, 3)), *bounds, name="narrow")
    scale = np.full(16, 0.01, np.float16)
    return build.model(
        build.conv(build.qdq("x", "data"), weight=build.dequantize(tensor, "weight", scale, None, axis=0))
    )


@pattern("refused", "quantized-constant-moved moved", remedy="DequantizeLinear", text="only allowed before DQ")
def transpose_on_integers_of_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.add("Transpose", build.integers((16, 3, 3, 16)), name="moved", perm=[0, 3, 1, 2])
    scale = np.full(16, 0.01, np.float16)
    return build.model(
        build.conv(build.qdq("x", "data"), weight=build.dequantize(tensor, "weight", scale, None, axis=0))
    )


@pattern("refused", "quantized-constant-moved unpack", remedy="int8", text="has datatype Int4 but is not consumed")
def cast_of_packed_int4() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.add("Cast", build.integers((16, 16, 3, 3), INT4), name="unpack", to=onnx.TensorProto.INT8)
    scale = np.full(16, 0.01, np.float16)
    return build.model(
        build.conv(build.qdq("x", "data"), weight=build.dequantize(tensor, "weight", scale, None, axis=0))
    )
