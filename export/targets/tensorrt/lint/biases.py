"""Rules about biases and the slopes of PRelu, which TensorRT wants in float."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_ir import DataType

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, Graph, is_a, name_of, operand
from efq.export.targets.tensorrt.lint.quantizers import quantized_type, weighted_operators

_REMEDY = "store it as a float initializer of the type of the data"


def int32_dequantized(graph: Graph) -> Iterator[Finding]:
    """ONNX Runtime's form of a bias. Parse error "input has type Int32 but must have type FP8, FP4, Int4, Int8"."""
    for node in graph.of_type(DEQUANTIZE):
        if quantized_type(graph, node) == DataType.INT32:
            yield Finding(
                rule="int32-bias",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="int8 values",
                found="int32 values, as ONNX Runtime wants a bias",
                remedy=_REMEDY,
            )


def quantized_bias(graph: Graph) -> Iterator[Finding]:
    """An int8 bias is taken, and dequantized in every run."""
    for operator in weighted_operators(graph):
        bias = operand(operator.node, 2)
        source = bias.producer() if bias is not None else None
        if source is not None and is_a(source, DEQUANTIZE) and quantized_type(graph, source) != DataType.INT32:
            yield Finding(
                rule="quantized-bias",
                severity=Severity.SLOW,
                node=name_of(source),
                expected=f"a float bias for {operator.node.op_type} {name_of(operator.node)}",
                found="a bias from DequantizeLinear",
                remedy=_REMEDY,
            )


def quantized_slope(graph: Graph) -> Iterator[Finding]:
    """A PRelu's int8 slope is taken, and dequantized in every run."""
    for node in graph.of_type("PRelu"):
        slope = operand(node, 1)
        source = slope.producer() if slope is not None else None
        if source is not None and is_a(source, DEQUANTIZE):
            yield Finding(
                rule="quantized-slope",
                severity=Severity.SLOW,
                node=name_of(source),
                expected=f"a float slope for PRelu {name_of(node)}",
                found="a slope from DequantizeLinear",
                remedy=_REMEDY,
            )
