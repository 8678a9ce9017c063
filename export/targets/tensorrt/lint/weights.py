"""Rules about the operands of convolutions and matrix products, which decide whether an int8 kernel runs them."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir import DataType

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, Graph, is_a, name_of, operand
from efq.export.targets.tensorrt.lint.quantizers import (
    CONVOLUTIONS,
    describe_source,
    is_blocked,
    is_per_channel,
    scale_of,
    weighted_operators,
)

_QUANTIZED_TYPES = {DataType.INT8, DataType.INT4, DataType.FLOAT8E4M3FN, DataType.FLOAT4E2M1}


def weight_only_convolution(graph: Graph) -> Iterator[Finding]:
    """A quantized weight with float data: a kernel dequantizes the weight every run, then a float convolution.

    Matrix products have fused kernels for it (int8 per channel, INT4 in blocks) and are left to low_bit_weights.py.
    """
    for operator in weighted_operators(graph):
        if operator.data_source is None and operator.weight_source is not None and is_a(operator.node, *CONVOLUTIONS):
            yield Finding(
                rule="weight-only-convolution",
                severity=Severity.FLOAT,
                node=name_of(operator.node),
                expected="data from DequantizeLinear, as the weight is",
                found=f"data from {describe_source(graph, operator.data)}",
                remedy="quantize the data right before the convolution, after activation, pooling or resizing",
            )


def activation_only_operator(graph: Graph) -> Iterator[Finding]:
    """Quantized data with a float weight: dequantized again, then a float kernel."""
    for operator in weighted_operators(graph):
        if operator.data_source is not None and operator.weight_source is None:
            yield Finding(
                rule="activation-only-operator",
                severity=Severity.FLOAT,
                node=name_of(operator.node),
                expected="a weight from DequantizeLinear, as the data is",
                found=f"a weight from {describe_source(graph, operator.weight)}",
                remedy="store the weight as int8 behind DequantizeLinear, or leave the data in float too",
            )


def weight_axis(graph: Graph) -> Iterator[Finding]:
    """Scales along another axis than the output channels: weight and data are dequantized, then a float kernel.

    Output channels are axis 0 of a Conv, 1 of a ConvTranspose, the last of a MatMul, and 0 or 1 of a Gemm by transB.
    A Transpose or Reshape behind DequantizeLinear is followed.
    """
    for operator in weighted_operators(graph):
        source = operator.weight_source
        if source is None or operator.data_source is None or not is_per_channel(graph, source):
            continue
        if operator.weight_axis != operator.output_axis:
            yield Finding(
                rule="weight-axis",
                severity=Severity.FLOAT,
                node=name_of(source),
                expected=f"scales along axis {operator.output_axis} of the weight of {operator.node.op_type} "
                f"{name_of(operator.node)}",
                found=f"scales along axis {'none' if operator.weight_axis is None else operator.weight_axis}",
                remedy="quantize the weight per output channel and set the axis attribute",
            )


def scale_count(graph: Graph) -> Iterator[Finding]:
    """Parse error "The number of scales is not equal to the number of output channels"."""
    for node in graph.of_type(DEQUANTIZE, QUANTIZE):
        values, scale = operand(node, 0), scale_of(graph, node)
        shape = graph.shape(values) if values is not None else None
        axis = node.attributes.get_int("axis", 1)
        if scale is None or scale.ndim != 1 or scale.size == 1 or not shape or is_blocked(node):
            continue
        size = shape[axis] if -len(shape) <= axis < len(shape) else 0
        if size is not None and size != scale.size:
            yield Finding(
                rule="scale-count",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected=f"{size} scales, the size of axis {axis}",
                found=f"{scale.size} scales for a tensor of shape {list(shape)}",
                remedy="set the axis attribute to the axis the scales belong to",
            )


def quantized_constant_moved(graph: Graph) -> Iterator[Finding]:
    """Build error "Quantized constant is only allowed before DQ"; for INT4 behind a Cast, "is not consumed by"."""
    for node in graph.nodes:
        value = operand(node, 0)
        if value is None or is_a(node, DEQUANTIZE, "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"):
            continue
        if _is_quantized_constant(graph, value):
            yield Finding(
                rule="quantized-constant-moved",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected=f"DequantizeLinear as the reader of the constant {value.name}",
                found=f"{node.op_type}",
                remedy=f"store the constant as {node.op_type} leaves it, as int8, or move {node.op_type} behind "
                "DequantizeLinear",
            )


def _is_quantized_constant(graph: Graph, value: ir.Value) -> bool:
    producer = value.producer()
    stored = value.const_value is not None or (producer is not None and is_a(producer, "Constant"))
    return stored and graph.dtype(value) in _QUANTIZED_TYPES
