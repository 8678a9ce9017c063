"""Rules about weights quantized in blocks and INT4 weights (INT4 convolutions: tensor_types.quantized_types_differ)."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_ir import DataType

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, Graph, is_a, name_of, operand
from efq.export.targets.tensorrt.lint.quantizers import (
    CONVOLUTIONS,
    PRODUCTS,
    is_blocked,
    quantized_type,
    weighted_operators,
)


def block_axis(graph: Graph) -> Iterator[Finding]:
    """Parse error "The blocking dimension must be the last or second to last dimension"."""
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        values = operand(node, 0)
        shape = graph.shape(values) if values is not None and not graph.is_activation(values) else None
        axis = node.attributes.get_int("axis", 1)
        if is_blocked(node) and shape and axis % len(shape) < len(shape) - 2:
            yield Finding(
                rule="block-axis",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="blocks along one of the last two axes",
                found=f"blocks along axis {axis} of shape {list(shape)}",
                remedy="quantize the weight of a convolution per output channel",
            )


def blocked_activation(graph: Graph) -> Iterator[Finding]:
    """Build error quantize_op.cpp:58: blocks are for weights (FP4 and FP8 aside)."""
    for node in graph.of_type(QUANTIZE):
        values = operand(node, 0)
        if is_blocked(node) and values is not None and graph.is_activation(values):
            yield Finding(
                rule="blocked-activation",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="one scale for an activation",
                found=f"a scale for each block of {node.attributes.get_int('block_size', 0)}",
                remedy="quantize activations per tensor",
            )


def blocked_product(graph: Graph) -> Iterator[Finding]:
    """Blocked weights with quantized data: one multiplication by [-1, blocks] scales follows a whole int8 product.

    Seen in the plans of MatMul and of Gemm with transB=0, for INT4 and INT8: almost surely wrong numbers. Gemm with
    transB=1 ends with the build error "CHECK(is_constant())".
    """
    for operator in weighted_operators(graph):
        weight = operator.weight_source
        if weight is None or operator.data_source is None or not is_blocked(weight):
            continue
        if is_a(operator.node, *PRODUCTS):
            ends = bool(operator.node.attributes.get_int("transB", 0))
            yield Finding(
                rule="blocked-product",
                severity=Severity.REFUSED if ends else Severity.FATAL,
                node=name_of(operator.node),
                expected="scales per output channel where the data is quantized",
                found=f"a scale for each block of {weight.attributes.get_int('block_size', 0)} weights",
                remedy="quantize the weight per output channel, or leave the data in float16 (weight-only)",
            )


def blocked_convolution(graph: Graph) -> Iterator[Finding]:
    """Blocked weights of a convolution, along an axis the parser takes: dequantized every run, float convolution."""
    for operator in weighted_operators(graph):
        weight = operator.weight_source
        if weight is None or operator.data_source is None or not is_blocked(weight):
            continue
        if is_a(operator.node, *CONVOLUTIONS):
            yield Finding(
                rule="blocked-convolution",
                severity=Severity.FLOAT,
                node=name_of(operator.node),
                expected="a weight quantized per output channel",
                found=f"a scale for each block of {weight.attributes.get_int('block_size', 0)} weights",
                remedy="quantize the weight per output channel in int8",
            )


def weight_dequantized_each_run(graph: Graph) -> Iterator[Finding]:
    """Products for which a kernel of its own unpacks the weight in every run, found by the builder:

    INT4 per channel or per tensor, and INT8 in blocks. INT4 in blocks and INT8 per channel are fused when the data is
    float.
    """
    for operator in weighted_operators(graph):
        weight = operator.weight_source
        if weight is None or not is_a(operator.node, *PRODUCTS):
            continue
        dtype, blocked = quantized_type(graph, weight), is_blocked(weight)
        int4 = dtype == DataType.INT4 and not blocked
        int8 = dtype == DataType.INT8 and blocked and operator.data_source is None
        if int4 or int8:
            kind = "INT4 without blocks" if int4 else "INT8 in blocks"
            yield Finding(
                rule="weight-dequantized-each-run",
                severity=Severity.SLOW,
                node=name_of(operator.node),
                expected="INT4 weights in blocks or INT8 weights per output channel",
                found=kind,
                remedy="store the values as int8 per output channel, or INT4 in blocks with float data",
            )
