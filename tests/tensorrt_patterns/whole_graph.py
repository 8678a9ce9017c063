"""Patterns of operators, shapes, the opset, float constants and data stored elsewhere."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto
from tensorrt_graphs import SCALE, GraphBuilder

from tensorrt_patterns.pattern import pattern


@pattern("refused", "integer-operator conv", remedy="Q/DQ", text="conv")
def qlinear_conv() -> onnx.ModelProto:
    build = GraphBuilder(dtype=np.float32)
    scale, zero = build.constant(SCALE), build.constant(np.int8(0))
    value = build.quantize("x", "data", scale, zero)
    weight = build.integers((16, 16, 3, 3))
    value = build.add("QLinearConv", value, scale, zero, weight, scale, zero, scale, zero, name="conv")
    return build.model(build.dequantize(value, "result", scale, zero))


@pattern("refused", "integer-operator product", remedy="Q/DQ", text="product")
def qlinear_matmul() -> onnx.ModelProto:
    build = GraphBuilder(dtype=np.float32)
    scale, zero = build.constant(SCALE), build.constant(np.int8(0))
    value = build.quantize(build.flatten("x"), "data", scale, zero)
    weight = build.integers((1024, 32))
    value = build.add("QLinearMatMul", value, scale, zero, weight, scale, zero, scale, zero, name="product")
    return build.model(build.dequantize(value, "result", scale, zero))


@pattern("refused", "integer-operator conv", remedy="Q/DQ", text="conv")
def conv_integer() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.add("ConvInteger", build.quantize("x", "data"), build.integers((16, 16, 3, 3)), name="conv")
    return build.model(build.add("Cast", value, to=TensorProto.FLOAT))


@pattern("refused", "integer-operator product", remedy="Q/DQ", text="product")
def matmul_integer() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.quantize(build.flatten("x"), "data")
    value = build.add("MatMulInteger", value, build.integers((1024, 32)), name="product")
    return build.model(build.add("Cast", value, to=TensorProto.FLOAT))


@pattern("refused", "integer-operator product", remedy="Q/DQ", text="Plugin not found")
def microsoft_qgemm() -> onnx.ModelProto:
    build = GraphBuilder(dtype=np.float32)
    scale, zero = build.constant(SCALE), build.constant(np.int8(0))
    value = build.quantize(build.flatten("x"), "data", scale, zero)
    operands = [value, scale, zero, build.integers((1024, 32)), scale, zero]
    return build.model(build.add("QGemm", *operands, name="product", domain="com.microsoft"))


@pattern("refused", "custom-operator act", remedy="ONNX", text="Plugin not found")
def custom_activation() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.add("Swoosh", build.conv(build.qdq("x", "data")), name="act", domain="com.example"))


@pattern("slow", "float32-network conv", remedy="float16")
def float32_between_int8() -> onnx.ModelProto:
    build = GraphBuilder(dtype=np.float32)
    value = build.add("Relu", build.conv(build.qdq("x", "data")))
    return build.model(build.conv(build.qdq(value, "data2"), "conv2"))


@pattern("slow", "narrow-operator conv2", remedy="float16")
def narrow_convolution() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(build.conv(build.qdq("x", "data")), "data2")
    weight = build.weight((8, 16, 3, 3))
    return build.model(build.add("Conv", value, weight, name="conv2"))


@pattern("slow", "narrow-operator gemm", remedy="float16")
def narrow_product() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.gemm(build.qdq(build.flatten("x"), "data"), outputs=8))


@pattern("refused", "dynamic-dimension x", text="no optimization profile")
def free_image_size() -> onnx.ModelProto:
    build = GraphBuilder(shape=[1, 16, "height", "width"])
    model = build.model(build.conv(build.qdq("x", "data")))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    return model


@pattern("refused", "input-without-shape x", text="misaligns with the input kernel shape")
def unknown_rank() -> onnx.ModelProto:
    build = GraphBuilder()
    model = build.model(build.conv(build.qdq("x", "data")))
    model.graph.input[0].type.tensor_type.ClearField("shape")
    return model


@pattern("refused", "fixed-batch x", remedy="batch", text="static dimensions that don't match")
def batch_of_one() -> onnx.ModelProto:
    build = GraphBuilder(shape=[1, 16, 8, 8])
    return build.model(build.conv(build.qdq("x", "data")))


@pattern("refused", "opset-too-old data.quantize", remedy="opset", verdict="int8")
def float16_scales_in_opset_17() -> onnx.ModelProto:
    build = GraphBuilder(opset=17)
    return build.model(build.conv(build.qdq("x", "data")))


@pattern("slow", "float32-network conv", "opset-too-old conv_weight.dequantize", remedy="float16")
def scales_per_channel_in_opset_12() -> onnx.ModelProto:
    build = GraphBuilder(opset=12, dtype=np.float32)
    return build.model(build.conv(build.qdq("x", "data")))


@pattern("refused", "opset-too-old weight.dequantize", remedy="opset", verdict="float", operator="gemm")
def blocks_in_opset_20() -> onnx.ModelProto:
    build = GraphBuilder(opset=20)
    return build.model(build.gemm(build.flatten("x"), build.blocked((32, 1024), axis=1, size=128)))


@pattern("clipped", "constant-not-finite scale", remedy="float32")
def infinite_factor() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.conv(build.qdq("x", "data"))
    return build.model(build.add("Mul", value, build.constant(np.full((16, 1, 1), np.inf, np.float16)), name="scale"))


@pattern("clipped", "constant-not-finite conv", remedy="float32")
def nan_bias() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq("x", "data"), bias=build.constant(np.full(16, np.nan, np.float16))))


@pattern("clipped", "constant-beyond-float16 half", remedy="float32")
def factor_beyond_float16() -> onnx.ModelProto:
    build = GraphBuilder()
    factor = build.add("Cast", build.constant(np.float32(1e6)), name="half", to=TensorProto.FLOAT16)
    return build.model(build.add("Mul", build.conv(build.qdq("x", "data")), factor))


@pattern("refused", "external-data constant4", text="Failed to import initializer")
def weight_stored_elsewhere() -> onnx.ModelProto:
    build = GraphBuilder()
    model = build.model(build.conv(build.qdq("x", "data")))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8 and tensor.dims)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value="missing.bin")
    return model
