"""Patterns of where Q/DQ stands. The builder keeps all of them in int8; each costs a rounding step."""

from __future__ import annotations

import numpy as np
import onnx
from tensorrt_graphs import GraphBuilder

from tensorrt_patterns.pattern import pattern


def batchnorm(build: GraphBuilder, value: str) -> str:
    return build.add("BatchNormalization", value, *(build.bias(16) for _ in range(4)))


@pattern("slow", "quantized-before-activation early.quantize", remedy="PRelu act")
def quantizer_before_prelu() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(build.conv(build.qdq("x", "data")), "early")
    value = build.add("PRelu", value, build.floats((16, 1, 1)), name="act")
    return build.model(build.conv(build.qdq(value, "late"), "conv2"))


@pattern("slow", "quantized-before-activation early.quantize", remedy="Relu act")
def quantizer_before_relu() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.add("Relu", build.qdq(build.conv(build.qdq("x", "data")), "early"), name="act")
    return build.model(build.conv(build.qdq(value, "late"), "conv2"))


@pattern("slow", "quantized-before-activation early.quantize", remedy="LeakyRelu act")
def quantizer_between_batchnorm_and_leaky_relu() -> onnx.ModelProto:
    build = GraphBuilder()
    value = build.qdq(batchnorm(build, build.conv(build.qdq("x", "data"))), "early")
    value = build.add("LeakyRelu", value, name="act", alpha=0.1)
    return build.model(build.conv(build.qdq(value, "late"), "conv2"))


@pattern("slow", "quantized-before-batchnorm early.quantize", remedy="BatchNormalization")
def quantizer_before_batchnorm() -> onnx.ModelProto:
    build = GraphBuilder()
    value = batchnorm(build, build.qdq(build.conv(build.qdq("x", "data")), "early"))
    return build.model(build.conv(build.qdq(value, "late"), "conv2"))


@pattern("slow", "quantized-twice second.quantize")
def two_quantizers() -> onnx.ModelProto:
    build = GraphBuilder()
    return build.model(build.conv(build.qdq(build.qdq("x", "first", 0.05), "second", 0.06)))


@pattern("slow", "residual-quantized-twice sum", remedy="branch.dequantize")
def both_branches_quantized() -> onnx.ModelProto:
    build = GraphBuilder()
    shortcut = build.qdq("x", "data")
    branch = build.qdq(build.conv(shortcut), "branch", 0.06)
    return build.model(build.conv(build.qdq(build.add("Add", shortcut, branch, name="sum"), "late"), "conv2"))


@pattern("slow", "residual-quantized-twice sum", remedy="shortcut.dequantize")
def projection_shortcut_quantized_too() -> onnx.ModelProto:
    build = GraphBuilder()
    shared = build.qdq("x", "data")
    branch = build.qdq(build.conv(shared), "branch", 0.06)
    shortcut = build.qdq(build.conv(shared, "projection"), "shortcut", 0.07)
    return build.model(build.conv(build.qdq(build.add("Add", branch, shortcut, name="sum"), "late"), "conv2"))


@pattern("slow", "requantized-around join", remedy="Concat")
def concat_between_two_scales() -> onnx.ModelProto:
    build = GraphBuilder()
    pair = [build.qdq("x", "first", 0.05), build.qdq("x", "second", 0.07)]
    joined = build.add("Concat", *pair, name="join", axis=1)
    return build.model(build.conv(build.qdq(joined, "late", 0.07), channels=32))


@pattern("slow", "requantized-around pad", remedy="Pad")
def padding_between_two_scales() -> onnx.ModelProto:
    build = GraphBuilder()
    pads = build.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    value = build.add("Pad", build.qdq("x", "data", 0.05), pads, name="pad")
    return build.model(build.conv(build.qdq(value, "late", 0.07)))


@pattern("slow", "requantized-around resize", remedy="Resize")
def resize_between_quantizers() -> onnx.ModelProto:
    build = GraphBuilder()
    sizes = build.constant(np.array([1, 1, 2, 2], np.float32))
    value = build.add("Resize", build.qdq("x", "data"), "", sizes, name="resize", mode="nearest")
    return build.model(build.conv(build.qdq(value, "late")))
