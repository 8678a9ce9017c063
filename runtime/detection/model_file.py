"""Whether a detector's ONNX file holds a plain network, found before a runtime parses it.

The closed list of operators is that of convolution networks with a detection head. Loops, branches, functions, custom
operators and files beside this one are refused; how much memory and time a network takes is not bounded (SECURITY.md).
Numbers of fields are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from efq.runtime.artifact.protobuf import BYTES, DamagedMessageError, fields, text
from efq.runtime.errors import IncompatibleArtifactError
from efq.runtime.file_kinds import FIRST_BYTES, ONNX, kind_of_bytes
from efq.runtime.reading import read_bytes

LARGEST_FILE = 2**28
"""Bytes; SCRFD-10G has 17 million."""

MOST_NODES = 20_000

OPERATORS = frozenset(
    {
        *("Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape"),
        *("Conv", "ConvTranspose", "DequantizeLinear", "Div", "Exp", "Expand", "Flatten", "Gather", "Gemm"),
        *("GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MatMul", "Max", "MaxPool"),
        *("Min", "Mul", "PRelu", "Pad", "Pow", "QuantizeLinear", "Range", "ReduceMean", "Relu", "Reshape", "Resize"),
        *("Shape", "Sigmoid", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze"),
        *("Upsample"),
    }
)

_GRAPH, _OPSET, _FUNCTIONS = 7, 8, 25  # of a ModelProto
_NODE, _INITIALIZER, _SPARSE = 1, 5, 15  # of a GraphProto
_OPERATOR, _ATTRIBUTE, _DOMAIN = 4, 5, 7  # of a NodeProto
_SUBGRAPHS = (6, 11)  # of an AttributeProto
_TENSOR = 5
_EXTERNAL = (13, 14)  # of a TensorProto
_OWN_DOMAINS = ("", "ai.onnx")


def read_detector(path: Path) -> bytes:
    """The bytes of the ONNX file at `path`. Raises IncompatibleArtifactError for what is no plain network."""
    expected = "a face detector's ONNX file (SCRFD or YuNet)"
    content = read_bytes(path, limit=LARGEST_FILE, expected=expected, error_class=IncompatibleArtifactError)
    kind = kind_of_bytes(content[:FIRST_BYTES])
    try:
        if kind is not None and kind != ONNX:
            raise DamagedMessageError(kind.sentence)
        _check_model(memoryview(content))
    except DamagedMessageError as error:
        message = f"expected {expected} at {path}, found {error}"
        raise IncompatibleArtifactError(message) from error
    return content


def _check_model(model: memoryview) -> None:
    graphs = list(_messages(model, _GRAPH))
    if len(graphs) != 1 or not any(_messages(model, _OPSET)):
        message = "a file that is no ONNX model"
        raise DamagedMessageError(message)
    if any(_messages(model, _FUNCTIONS)):
        message = "functions, which a detector does not need"
        raise DamagedMessageError(message)
    nodes = list(_messages(graphs[0], _NODE))
    if not 0 < len(nodes) <= MOST_NODES:
        message = f"{len(nodes):,} nodes, not 1 to {MOST_NODES:,}"
        raise DamagedMessageError(message)
    for node in nodes:
        _check_node(node)
    if any(_messages(graphs[0], _SPARSE)):
        message = "sparse weights"
        raise DamagedMessageError(message)
    for tensor in _messages(graphs[0], _INITIALIZER):
        _check_tensor(tensor)


def _check_node(node: memoryview) -> None:
    operator = _text(node, _OPERATOR)
    domain = _text(node, _DOMAIN)
    if operator not in OPERATORS or domain not in _OWN_DOMAINS:
        described = f"{domain}.{operator}" if domain else operator
        message = f"a node of {described[:100]!r}, which is not among the operators of detectors that are known"
        raise DamagedMessageError(message)
    for attribute in _messages(node, _ATTRIBUTE):
        if any(any(_messages(attribute, number)) for number in _SUBGRAPHS):
            message = f"a graph inside a node of {operator}"
            raise DamagedMessageError(message)
        for tensor in _messages(attribute, _TENSOR):
            _check_tensor(tensor)


def _check_tensor(tensor: memoryview) -> None:
    if any(number in _EXTERNAL and value for number, _, value in fields(tensor)):
        message = "weights in another file; store them inside this one (onnx.save with its external data loaded)"
        raise DamagedMessageError(message)


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, wire_type, value in fields(data):
        if number == wanted and wire_type == BYTES and isinstance(value, memoryview):
            yield value


def _text(data: memoryview, number: int) -> str:
    return "".join(text(value) for value in _messages(data, number))
