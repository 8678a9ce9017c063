"""Patterns of weights in blocks and of INT4 weights of matrix products."""

from __future__ import annotations

import numpy as np
import onnx
from tensorrt_graphs import INT4, SCALE, GraphBuilder

from tensorrt_patterns.pattern import pattern

MOVED = "blocking dimension must be the last or second to last"


@pattern("refused", "block-axis weight.dequantize", "blocked-convolution conv", remedy="output channel", text=MOVED)
def blocks_along_input_channels() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.blocked((16, 16, 3, 3), axis=1, size=4)
    return build.model(build.conv(build.qdq("x", "data"), weight=tensor))


@pattern("float", "blocked-convolution conv", remedy="output channel")
def blocks_along_rows() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.blocked((16, 16, 4, 4), axis=2, size=2, dtype=np.int8)
    return build.model(build.conv(build.qdq("x", "data"), weight=tensor))


@pattern("refused", "blocked-activation data.quantize", remedy="per tensor", text="quantize_op.cpp")
def blocks_of_data() -> onnx.ModelProto:
    build = GraphBuilder()
    scale = build.constant(np.full((1, 4, 8, 8), SCALE, np.float16))
    kind = onnx.TensorProto.INT8
    blocked = build.add("QuantizeLinear", "x", scale, name="data.quantize", axis=1, block_size=4, output_dtype=kind)
    return build.model(blocked)


@pattern("fatal", "blocked-product product", remedy="float16", verdict="int8")
def int4_blocks_in_matmul_with_int8_data() -> onnx.ModelProto:
    build = GraphBuilder()
    value, tensor = build.qdq(build.flatten("x"), "data"), build.blocked((1024, 32), axis=0, size=128)
    return build.model(build.add("MatMul", value, tensor, name="product"))


@pattern("fatal", "blocked-product product", remedy="output channel", verdict="int8")
def int8_blocks_in_matmul_with_int8_data() -> onnx.ModelProto:
    build = GraphBuilder()
    value, tensor = build.qdq(build.flatten("x"), "data"), build.blocked((1024, 32), axis=0, size=128, dtype=np.int8)
    return build.model(build.add("MatMul", value, tensor, name="product"))


@pattern("refused", "blocked-product gemm", remedy="float16", text="CHECK(is_constant())")
def int4_blocks_in_gemm_with_int8_data() -> onnx.ModelProto:
    build = GraphBuilder()
    tensor = build.blocked((32, 1024), axis=1, size=128)
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), tensor))


@pattern("slow", "weight-dequantized-each-run gemm", remedy="INT4", verdict="float", operator="gemm")
def int4_per_channel_weight_only() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.flatten("x"), build.weight((32, 1024), dtype=INT4)))


@pattern("slow", "weight-dequantized-each-run gemm", remedy="int8")
def int4_per_channel_with_int8_data() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), build.weight((32, 1024), dtype=INT4)))


@pattern("slow", "weight-dequantized-each-run gemm", remedy="output channel", verdict="float", operator="gemm")
def int8_blocks_weight_only() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.flatten("x"), build.blocked((32, 1024), axis=1, size=128, dtype=np.int8)))


@pattern(verdict="float", operator="gemm")
def int4_blocks_weight_only() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.flatten("x"), build.blocked((32, 1024), axis=1, size=128)))


@pattern(verdict="float", operator="gemm")
def int8_per_channel_weight_only() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.flatten("x"), build.weight((32, 1024))))
