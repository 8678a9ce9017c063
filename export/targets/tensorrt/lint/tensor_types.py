"""Rules about the types of tensors: what quantized types TensorRT takes, and strong typing's equal float types."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir
from onnx_ir import DataType

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, Graph, is_a, name_of, operand
from efq.export.targets.tensorrt.lint.quantizers import is_blocked, quantized_type, weighted_operators

_EVERY_CAPABILITY = {
    "trt-rtx": frozenset({(8, 0), (8, 6), (8, 9), (12, 0), (12, 1)})
}  # what an engine is built for when none is named
_LEAST_CAPABILITY = {DataType.FLOAT8E4M3FN: (8, 9), DataType.FLOAT4E2M1: (10, 0)}
_QUANTIZED = {DataType.INT8, DataType.INT4, *_LEAST_CAPABILITY}
_OF_OTHER_RULES = {DataType.UINT8, DataType.INT32}  # above, and biases.py
_FLOATS = {DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE}
_ONE_TYPE = ("Add", "Concat", "Conv", "ConvTranspose", "Div", "Gemm", "MatMul", "Max", "Min", "Mul", "PRelu", "Sub")


def unsigned_activation(graph: Graph) -> Iterator[Finding]:
    """QuantizeLinear to uint8 becomes int8, with a warning: everything above 127 steps is clipped.

    It is uint8 also where neither a zero point nor output_dtype is given: that is ONNX's default.
    """
    for node in graph.of_type(QUANTIZE):
        if _type_of(graph, node) == DataType.UINT8:
            given = operand(node, 2) is not None or "output_dtype" in node.attributes
            yield Finding(
                rule="unsigned-activation",
                severity=Severity.CLIPPED,
                node=name_of(node),
                expected="quantization to int8",
                found=f"quantization to uint8{'' if given else ', the default without a zero point'}, "
                "which TensorRT clips at 127 steps",
                remedy="give an int8 zero point of 0 and twice the scale (largest magnitude / 127)",
            )


def unsigned_tensor(graph: Graph) -> Iterator[Finding]:
    """A uint8 weight or input read by DequantizeLinear: parse error "Found unsupported input type of UINT8"."""
    for node in graph.of_type(DEQUANTIZE):
        if quantized_type(graph, node) == DataType.UINT8 and not _is_quantized_in_graph(node):
            yield Finding(
                rule="unsigned-tensor",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="int8 values",
                found="uint8 values of a constant or an input",
                remedy="store a weight as int8 with zero point 0; Cast an image to float and quantize it to int8",
            )


def quantized_type_refused(graph: Graph) -> Iterator[Finding]:
    """16-, 2- and unsigned 4-bit integers and the other float8 types: parse error "Failed to import initializer"."""
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        dtype = _type_of(graph, node)
        if dtype is not None and dtype not in _QUANTIZED | _OF_OTHER_RULES:
            yield Finding(
                rule="quantized-type-refused",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="int8 (int4, float8_e4m3 or float4_e2m1 where they are supported)",
                found=dtype.name.lower(),
                remedy="quantize to int8",
            )


def quantized_type_needs_newer_gpu(graph: Graph) -> Iterator[Finding]:
    """FP8 needs 8.9, FP4 10.0: build error "Cannot compile for target(s), because the model contains HW-specific".

    Nothing is said of full TensorRT where none is named: it builds for the GPU it finds.
    """
    capabilities = graph.capabilities or _EVERY_CAPABILITY.get(graph.target, frozenset())
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        dtype = _type_of(graph, node)
        least = _LEAST_CAPABILITY.get(dtype, (0, 0)) if dtype is not None else (0, 0)
        older = sorted(capability for capability in capabilities if capability < least)
        if older and dtype is not None:
            yield Finding(
                rule="quantized-type-needs-newer-gpu",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected=f"types that compute capability {', '.join(map(_dotted, older))} has",
                found=f"{dtype.name.lower()}, which needs {_dotted(least)}",
                remedy=f"quantize to int8, or build for {_dotted(least)} and newer only",
            )


def quantized_types_differ(graph: Graph) -> Iterator[Finding]:
    """A convolution's data and weight in two quantized types: build error "CHECK(dtype == W.type())".

    So INT4 weights with int8 activations, int4 activations and FP8 beside int8. (Weights quantized in blocks are
    dequantized instead: low_bit_weights.py.)
    """
    for operator in weighted_operators(graph):
        data, weight = operator.data_source, operator.weight_source
        if data is None or weight is None or not is_a(operator.node, "Conv") or is_blocked(weight):
            continue
        types = [dtype for node in (data, weight) if (dtype := quantized_type(graph, node)) in _QUANTIZED and dtype]
        if len(set(types)) == 2:
            yield Finding(
                rule="quantized-types-differ",
                severity=Severity.REFUSED,
                node=name_of(operator.node),
                expected="data and weight of one quantized type",
                found=f"{types[0].name.lower()} data and {types[1].name.lower()} weight",
                remedy="store both as int8; values of fewer bits keep their grid and scale in int8 tensors",
            )


def float_types_differ(graph: Graph) -> Iterator[Finding]:
    """Networks are strongly typed: parse error "must be of same type"."""
    for node in graph.of_type(*_ONE_TYPE):
        values = [value for value in node.inputs if value is not None]
        known = [(value, dtype) for value in values if (dtype := graph.dtype(value)) in _FLOATS and dtype]
        if len({dtype for _, dtype in known}) > 1:
            yield Finding(
                rule="float-types-differ",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="inputs of one float type",
                found=", ".join(f"{value.name} in {dtype.name.lower()}" for value, dtype in known),
                remedy="store constants and scales in the type of the data, or Cast",
            )


def _type_of(graph: Graph, node: ir.Node) -> DataType | None:
    """The type of the integers that a quantizing node writes or a dequantizing node reads."""
    return graph.dtype(node.outputs[0]) if is_a(node, QUANTIZE) else quantized_type(graph, node)


def _is_quantized_in_graph(node: ir.Node) -> bool:
    """Whether the integers that `node` reads come from a QuantizeLinear, directly or over other operators."""
    value = operand(node, 0)
    while value is not None and (producer := value.producer()) is not None:
        if is_a(producer, QUANTIZE):
            return True
        value = operand(producer, 0)
    return False


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"
