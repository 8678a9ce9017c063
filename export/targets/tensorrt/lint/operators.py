"""Rules about the operators themselves."""

from __future__ import annotations

from collections.abc import Iterator

from onnx_ir import DataType

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, STANDARD_DOMAINS, Graph, is_a, name_of
from efq.export.targets.tensorrt.lint.quantizers import weighted_operators

_INTEGER_OPERATORS = frozenset(
    {"ConvInteger", "DynamicQuantizeLinear", "MatMulInteger", "QLinearConv", "QLinearMatMul"}
)
_PLUGIN_DOMAINS = frozenset({"trt", "trt.plugins"})


def integer_operator(graph: Graph) -> Iterator[Finding]:
    """The operators of integers, ONNX's and ONNX Runtime's (QGemm, QLinearAdd and others): parse error."""
    for node in graph.nodes:
        microsoft = node.domain == "com.microsoft" and node.op_type not in (QUANTIZE, DEQUANTIZE)
        if microsoft or (node.domain in STANDARD_DOMAINS and node.op_type in _INTEGER_OPERATORS):
            yield Finding(
                rule="integer-operator",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="float operators between QuantizeLinear and DequantizeLinear",
                found=f"{node.domain + '.' if microsoft else ''}{node.op_type}",
                remedy="export the graph with Q/DQ nodes, not the one ONNX Runtime writes after optimization",
            )


def custom_operator(graph: Graph) -> Iterator[Finding]:
    """Another domain needs a plugin: parse error "Plugin not found"."""
    for node in graph.nodes:
        if node.domain not in STANDARD_DOMAINS | _PLUGIN_DOMAINS | {"com.microsoft"}:
            yield Finding(
                rule="custom-operator",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="operators of ONNX's own domain",
                found=f"{node.domain}.{node.op_type}",
                remedy="express it with ONNX operators",
            )


def quantized_transposed_convolution(graph: Graph) -> Iterator[Finding]:
    """TensorRT-RTX 1.7 has no int8 deconvolution: both operands are dequantized, then "deconv" runs in Half."""
    if graph.target != "trt-rtx":
        return
    for operator in weighted_operators(graph):
        if is_a(operator.node, "ConvTranspose") and operator.is_quantized:
            yield Finding(
                rule="quantized-transposed-convolution",
                severity=Severity.FLOAT,
                node=name_of(operator.node),
                expected="ConvTranspose in float",
                found="ConvTranspose with quantized data and weight",
                remedy="remove its Q/DQ, or use Resize and Conv",
            )


def float32_network(graph: Graph) -> Iterator[Finding]:
    """Strong typing leaves everything that is not int8 in the type the graph says: float32 costs twice float16.

    One finding, at the first quantized convolution or product whose weight is dequantized to float32.
    """
    quantized = [operator for operator in weighted_operators(graph) if operator.is_quantized]
    single = [operator for operator in quantized if graph.dtype(operator.weight) == DataType.FLOAT]
    if single:
        yield Finding(
            rule="float32-network",
            severity=Severity.SLOW,
            node=name_of(single[0].node),
            expected="float16 between the int8 kernels",
            found=f"{len(single)} of {len(quantized)} quantized convolutions and products in float32",
            remedy="store scales, biases and slopes in float16, so that activations are float16",
        )
