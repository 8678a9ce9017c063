"""Patterns of types: quantized types, float types, biases."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
from tensorrt_graphs import INT4, SCALE, GraphBuilder

from tensorrt_patterns.pattern import pattern

FLOAT8, FLOAT4 = ml_dtypes.float8_e4m3fn, ml_dtypes.float4_e2m1fn
FLOAT8_NODES = ("data.quantize", "data.dequantize", "weight.dequantize")


@pattern("clipped", "unsigned-activation data.quantize", remedy="int8")
def unsigned_data() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, np.uint8(0))))


@pattern("clipped", "unsigned-activation data.quantize", remedy="int8")
def unsigned_data_by_default() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, None)))


@pattern(
    "refused",
    *(f"zero-point-not-zero {node}" for node in FLOAT8_NODES[:2]),
    "unsigned-activation data.quantize",
    remedy="int8",
    text="Non-zero zero point is not supported",
)
def unsigned_data_with_zero_point() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, np.uint8(128))))


@pattern("refused", "unsigned-tensor weight.dequantize", remedy="int8", text="unsupported input type of UINT8")
def unsigned_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), weight=build.weight(dtype=np.uint8)))


@pattern("refused", "unsigned-tensor data.dequantize", remedy="Cast", text="unsupported input type of UINT8")
def unsigned_image() -> onnx.ModelProto:
    build = GraphBuilder(input_dtype=np.uint8)
    return build.model(build.conv(build.dequantize("x", "data", SCALE, np.uint8(0))))


@pattern(
    "refused",
    *(f"quantized-type-refused {node}" for node in FLOAT8_NODES[:2]),
    remedy="int8",
    text="Failed to import initializer",
)
def sixteen_bit_data() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, np.int16(0))))


@pattern("refused", "quantized-type-refused weight.dequantize", remedy="int8", text="Failed to import initializer")
def sixteen_bit_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.weight(dtype=np.int16, zero_point=np.zeros(16, np.int16))
    return build.model(build.conv(build.qdq("x", "data"), weight=tensor))


@pattern(
    "refused",
    *(f"quantized-type-refused {node}" for node in FLOAT8_NODES),
    remedy="int8",
    text="Failed to import initializer",
)
def other_float8() -> onnx.ModelProto:
    build = GraphBuilder()
    kind = ml_dtypes.float8_e5m2
    return build.model(build.conv(build.qdq("x", "data", SCALE, kind(0)), weight=build.weight(dtype=kind)))


def float8() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, FLOAT8(0)), weight=build.weight(dtype=FLOAT8)))


@pattern(
    "refused",
    *(f"quantized-type-needs-newer-gpu {node}" for node in FLOAT8_NODES),
    remedy="8.9",
    text="HW-specific datatypes: fp8_e4m3",
)
def float8_on_any_gpu() -> onnx.ModelProto:
    return float8()


@pattern(verdict="float", capabilities=("8.9", "12.0"))
def float8_on_newer_gpu() -> onnx.ModelProto:
    return float8()


@pattern(
    "refused",
    "quantized-type-needs-newer-gpu weight.dequantize",
    remedy="10.0",
    text="HW-specific datatypes: fp4_e2m1",
    capabilities=("8.9",),
)
def float4_on_older_gpu() -> onnx.ModelProto:
    build = GraphBuilder(opset=23)
    return build.model(build.gemm(build.flatten("x"), build.blocked((32, 1024), axis=1, size=16, dtype=FLOAT4)))


@pattern("refused", "quantized-types-differ conv", remedy="int8", text="CHECK(dtype == W.type())")
def int4_convolution() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), weight=build.weight(dtype=INT4)))


@pattern("refused", "quantized-types-differ conv", remedy="int8", text="CHECK(dtype == W.type())")
def int4_data() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, INT4(0))))


@pattern(
    "refused",
    "quantized-types-differ conv",
    remedy="int8",
    text="CHECK(dtype == W.type())",
    capabilities=("8.9",),
)
def float8_data_and_int8_weight() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", SCALE, FLOAT8(0))))


@pattern("refused", "float-types-differ conv", remedy="Cast", text="must be of same type")
def float32_bias() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), bias=build.constant(np.ones(16, np.float32))))


@pattern("refused", "float-types-differ conv", remedy="Cast", text="must be of same type")
def float32_scale_of_data() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data", np.float32(SCALE))))


@pattern("refused", "float-types-differ act", remedy="Cast", text="must be of same types")
def float32_slope() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.conv(build.qdq("x", "data"))
    slope = build.constant(np.full((16, 1, 1), 0.2, np.float32))
    return build.model(build.add("PRelu", value, slope, name="act"))


@pattern("refused", "float-types-differ sum", remedy="Cast", text="must have same input types")
def float32_addend() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.conv(build.qdq("x", "data"))
    return build.model(build.add("Add", value, build.constant(np.ones((16, 1, 1), np.float32)), name="sum"))


@pattern("refused", "int32-bias bias.dequantize", remedy="initializer", text="input has type Int32")
def int32_bias_of_convolution() -> onnx.ModelProto:
    build = GraphBuilder()
    bias = build.dequantize(build.integers((16,), np.int32), "bias", np.full(16, 0.001, np.float16), None, axis=0)
    return build.model(build.conv(build.qdq("x", "data"), bias=bias))


@pattern("refused", "int32-bias bias.dequantize", remedy="initializer", text="input has type Int32")
def int32_bias_of_product() -> onnx.ModelProto:
    build = GraphBuilder()
    bias = build.dequantize(build.integers((32,), np.int32), "bias", np.full(32, 0.001, np.float16), None, axis=0)
    value = build.qdq(build.flatten("x"), "data")
    return build.model(build.add("Gemm", value, build.weight((32, 1024)), bias, name="gemm", transB=1))


@pattern("slow", "quantized-bias bias.dequantize", remedy="initializer")
def int8_bias() -> onnx.ModelProto:
    build = GraphBuilder()
    bias = build.dequantize(build.integers((16,)), "bias", np.full(16, 0.01, np.float16), None, axis=0)
    return build.model(build.conv(build.qdq("x", "data"), bias=bias))


@pattern("slow", "quantized-slope slope.dequantize", remedy="initializer")
def int8_slope() -> onnx.ModelProto:
    build = GraphBuilder()
    slope = build.dequantize(build.integers((16, 1, 1)), "slope", 0.01)
    return build.model(build.add("PRelu", build.conv(build.qdq("x", "data")), slope, name="act"))
