"""Patterns of scales and zero points."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from tensorrt_graphs import SCALE, GraphBuilder

from tensorrt_patterns.pattern import pattern

BOTH = ("data.quantize", "data.dequantize")
ZERO_POINT = [f"zero-point-not-zero {node}" for node in BOTH]
NOT_POSITIVE = [f"scale-not-positive {node}" for node in BOTH]
NOT_CONSTANT = [f"scale-not-constant {node}" for node in BOTH]
TOO_LARGE = [f"scale-too-large {node}" for node in BOTH]
SUBNORMAL = [f"scale-subnormal {node}" for node in BOTH]


def data(scale: Any = SCALE, zero_point: Any = np.int8(0), **attributes: Any) -> onnx.ModelProto:  # noqa: B008
    """A convolution whose data has this scale and zero point."""
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", scale, zero_point, **attributes)))


def weight(scale: Any = None, zero_point: Any = None) -> onnx.ModelProto:
    """A convolution whose weight has this scale and zero point."""
    build = GraphBuilder()
    tensor = build.weight(scale=scale, zero_point=zero_point)
    return build.model(build.conv(build.qdq("x", "data"), weight=tensor))


def channels(**other: float) -> np.ndarray[Any, np.dtype[np.float16]]:
    """Sixteen scales, some channel's replaced."""
    scale = np.full(16, 0.01, np.float16)
    for channel, value in other.items():
        scale[int(channel[1:])] = value
    return scale


@pattern("refused", *ZERO_POINT, remedy="int8", text="Non-zero zero point is not supported")
def zero_point_of_data() -> onnx.ModelProto:
    return data(zero_point=np.int8(3))


@pattern(
    "refused",
    "zero-point-not-zero weight.dequantize",
    remedy="int8",
    text="Non-zero zero point is not supported",
)
def zero_point_of_weight() -> onnx.ModelProto:
    return weight(zero_point=np.arange(16, dtype=np.int8))


@pattern(
    "refused",
    *(f"zero-point-not-constant {node}" for node in BOTH),
    remedy="initializer",
    text="`zero_point` which is not an initializer",
)
def zero_point_as_input() -> onnx.ModelProto:
    build = GraphBuilder()
    build.input("zero", [], np.int8)
    return build.model(build.conv(build.qdq("x", "data", build.constant(SCALE), "zero")))


@pattern("refused", *(f"zero-point-empty {node}" for node in BOTH), remedy="int8", text="Invalid Node")
def zero_point_with_empty_name() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.constant(SCALE)
    quantized = build.add("QuantizeLinear", "x", scale, "", name="data.quantize", output_dtype=onnx.TensorProto.INT8)
    return build.model(build.conv(build.add("DequantizeLinear", quantized, scale, "", name="data.dequantize")))


@pattern("refused", *NOT_POSITIVE, remedy="scale", text="Scale coefficients must all be positive")
def scale_zero() -> onnx.ModelProto:
    return data(0.0)


@pattern("refused", *NOT_POSITIVE, remedy="scale", text="Scale coefficients must all be positive")
def scale_negative() -> onnx.ModelProto:
    return data(-SCALE)


@pattern("refused", *NOT_POSITIVE, remedy="scale", text="Scale coefficients must all be positive")
def scale_nan() -> onnx.ModelProto:
    return data(np.nan)


@pattern(
    "refused",
    "scale-not-positive weight.dequantize",
    remedy="scale",
    text="Scale coefficients must all be positive",
)
def scale_zero_in_one_channel() -> onnx.ModelProto:
    return weight(channels(c3=0.0))


@pattern("clipped", *TOO_LARGE, remedy="float32")
def scale_infinite() -> onnx.ModelProto:
    return data(np.inf)


@pattern("clipped", *TOO_LARGE, remedy="float32")
def scale_overflows_float16() -> onnx.ModelProto:
    return data(600.0)


@pattern("clipped", "scale-too-large weight.dequantize", remedy="float32")
def scale_infinite_in_one_channel() -> onnx.ModelProto:
    return weight(channels(c3=np.inf))


@pattern("clipped", *SUBNORMAL, remedy="float32")
def scale_subnormal_in_float16() -> onnx.ModelProto:
    return data(6e-8)


@pattern("clipped", *SUBNORMAL, "float32-network conv", remedy="float32")
def scale_subnormal_in_float32() -> onnx.ModelProto:
    build = GraphBuilder(dtype=np.float32)
    return build.model(build.conv(build.qdq("x", "data", np.float32(1e-42))))


@pattern("clipped", *SUBNORMAL, remedy="float32")
def scale_zero_after_cast() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.add("Cast", build.constant(np.float32(1e-9)), to=onnx.TensorProto.FLOAT16)
    return build.model(build.conv(build.qdq("x", "data", scale)))


@pattern("clipped", "scale-subnormal weight.dequantize", remedy="float32")
def scale_rounded_by_cast() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.add("Cast", build.constant(np.full(16, 3.1e-7, np.float32)), to=onnx.TensorProto.FLOAT16)
    return build.model(build.conv(build.qdq("x", "data"), weight=build.weight(scale=scale)))


@pattern("fatal", *NOT_CONSTANT, remedy="initializer")
def scale_as_input() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", build.input("scale", [], np.float16))))


@pattern("fatal", *NOT_CONSTANT, remedy="initializer")
def scale_from_data() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", build.add("ReduceMax", "x", keepdims=0))))


@pattern("fatal", "scale-not-constant weight.dequantize", remedy="initializer")
def scale_of_weight_from_data() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.add("ReduceMax", "x", build.constant(np.array([0, 2, 3])), keepdims=0)
    return build.model(build.conv(build.qdq("x", "data"), weight=build.weight(scale=scale)))


@pattern("fatal", *NOT_CONSTANT, remedy="initializer", verdict="float", operator="gemm")
def scale_of_product_as_input() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.input("scale", [], np.float16)
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data", scale)))


@pattern("float", "activation-scale-not-scalar data.dequantize", remedy="per tensor")
def scale_per_channel_of_data() -> onnx.ModelProto:
    return data(np.linspace(0.04, 0.06, 16).astype(np.float16), np.zeros(16, np.int8), axis=1)


@pattern("float", "activation-scale-not-scalar data.dequantize", remedy="per tensor")
def scale_with_one_element() -> onnx.ModelProto:
    return data(np.full(1, SCALE, np.float16))


@pattern("float", "activation-scale-not-scalar data.dequantize", remedy="per tensor", operator="gemm")
def scale_per_channel_of_product() -> onnx.ModelProto:
    build = GraphBuilder()
    scale, zero_point = np.full(1024, SCALE, np.float16), np.zeros(1024, np.int8)
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data", scale, zero_point, axis=1)))


@pattern("refused", "weight-scale-one-element weight.dequantize", remedy="output channel", text="const_ppg.cpp")
def scale_with_one_element_of_weight() -> onnx.ModelProto:
    return weight(np.full(1, 0.01, np.float16))


@pattern(
    "refused",
    "scale-count weight.dequantize",
    remedy="axis",
    text="number of scales is not equal to the number of output channels",
)
def scales_of_another_axis() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.weight((32, 16, 3, 3), scale=np.full(16, 0.01, np.float16))
    return build.model(build.add("Conv", build.qdq("x", "data"), tensor, name="conv"))
