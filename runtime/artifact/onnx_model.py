"""A model.onnx as plain records, read without the onnx package or a runtime; weights stay where they are.

It holds what EFQ writes and nothing else: no functions, subgraphs, external data, sparse or nested tensors, training
information. What is allowed to be there twice, or in two ways, is what two parsers could understand otherwise. Numbers
of fields are those of onnx.proto3 (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from efq.runtime.artifact.protobuf import (
    BYTES,
    FOUR_BYTES,
    REFUSED,
    VARINT,
    DamagedMessageError,
    Field,
    Value,
    fields,
    float32,
    integers,
    read_message,
    signed,
    text,
)

LONGEST_NAME = 1000
MOST_NODES = 6_000  # IResNet-100 has 982
MOST_TENSORS = 10_000
LARGEST_RANK = 4
LARGEST_STRUCTURE = 2**21
"""Bytes of all nodes, of all metadata, and of all initializers without their weights; IResNet-100 has 6e4 together."""

FLOAT, UINT8, INT8, INT16, INT32, INT64, FLOAT16, BFLOAT16, INT4 = 1, 2, 3, 5, 6, 7, 10, 16, 22
BITS = {FLOAT: 32, UINT8: 8, INT8: 8, INT16: 16, INT32: 32, INT64: 64, FLOAT16: 16, BFLOAT16: 16, INT4: 4}
"""Of one value, by TensorProto.DataType: the types EFQ writes."""

METADATA_PROPS = 14  # of a ModelProto

_FLOAT_ATTRIBUTE, _INT_ATTRIBUTE, _TEXT_ATTRIBUTE, _INTS_ATTRIBUTE = 1, 2, 3, 7  # AttributeProto.AttributeType

_MODEL = {
    1: Field("ir_version", VARINT),
    2: Field("producer_name", BYTES),
    3: Field("producer_version", BYTES),
    4: Field("domain", BYTES),
    5: Field("model_version", VARINT),
    6: Field("doc_string", BYTES),
    7: Field("graph", BYTES),
    8: Field("opset_import", BYTES, repeated=True),
    METADATA_PROPS: Field("metadata_props", BYTES, repeated=True),
    20: Field("training_info", REFUSED),
    25: Field("functions", REFUSED),
    26: Field("configuration", REFUSED),
}
_GRAPH = {
    1: Field("node", BYTES, repeated=True),
    2: Field("name", BYTES),
    5: Field("initializer", BYTES, repeated=True),
    10: Field("doc_string", BYTES),
    11: Field("input", BYTES, repeated=True),
    12: Field("output", BYTES, repeated=True),
    13: Field("value_info", REFUSED),
    14: Field("quantization_annotation", REFUSED),
    15: Field("sparse_initializer", REFUSED),
}
_NODE = {
    1: Field("input", BYTES, repeated=True),
    2: Field("output", BYTES, repeated=True),
    3: Field("name", BYTES),
    4: Field("op_type", BYTES),
    5: Field("attribute", BYTES, repeated=True),
    6: Field("doc_string", BYTES),
    7: Field("domain", BYTES),
}
_ATTRIBUTE = {
    1: Field("name", BYTES),
    2: Field("f", FOUR_BYTES),
    3: Field("i", VARINT),
    4: Field("s", BYTES),
    5: Field("a tensor", REFUSED),
    6: Field("a subgraph", REFUSED),
    8: Field("ints", VARINT, repeated=True),
    11: Field("subgraphs", REFUSED),
    20: Field("type", VARINT),
    21: Field("a reference to a function's attribute", REFUSED),
}
_TENSOR = {
    1: Field("dims", VARINT, repeated=True),
    2: Field("data_type", VARINT),
    8: Field("name", BYTES),
    9: Field("raw_data", BYTES),
    13: Field("external_data", REFUSED),
    14: Field("data_location", REFUSED),
}
_OPSET = {1: Field("domain", BYTES), 2: Field("version", VARINT)}
_ENTRY = {1: Field("key", BYTES), 2: Field("value", BYTES)}
_VALUE_INFO = {1: Field("name", BYTES), 2: Field("type", BYTES)}
_TYPE = {1: Field("tensor_type", BYTES)}
_TENSOR_TYPE = {1: Field("elem_type", VARINT), 2: Field("shape", BYTES)}
_SHAPE = {1: Field("dim", BYTES, repeated=True)}
_DIMENSION = {1: Field("dim_value", VARINT), 2: Field("dim_param", BYTES)}

Attribute = int | float | str | tuple[int, ...]


class Tensor(NamedTuple):
    """An initializer: `raw` holds exactly the values that `dims` and `dtype` say, little-endian, of int4 two a byte."""

    name: str
    dtype: int
    dims: tuple[int, ...]
    raw: memoryview


class Node(NamedTuple):
    """An operator of ONNX's own domain."""

    operator: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


class Port(NamedTuple):
    """The graph's input or output: a dimension that is free has its name."""

    name: str
    dtype: int
    dims: tuple[int | str, ...]


class OnnxModel(NamedTuple):
    """A model as its file says, not yet checked to be one that can run."""

    ir_version: int
    opset: int
    nodes: tuple[Node, ...]
    initializers: tuple[Tensor, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]


def read_onnx_model(content: bytes) -> OnnxModel:
    """The model in `content`, whose tensors are views of it. Raises DamagedMessageError for what EFQ does not write."""
    model = read_message(memoryview(content), "the model", _MODEL)
    graph = read_message(_one(model, 7, "graph of the model"), "the graph", _GRAPH)
    return OnnxModel(
        ir_version=_number(model, 1),
        opset=_opset(_messages(model, 8, 4, "opset_imports")),
        nodes=tuple(map(_node, _messages(graph, 1, MOST_NODES, "nodes"))),
        initializers=_initializers(graph),
        inputs=tuple(map(_port, _messages(graph, 11, 4, "inputs"))),
        outputs=tuple(map(_port, _messages(graph, 12, 4, "outputs"))),
        metadata=_metadata(model),
    )


def metadata_of(content: bytes) -> dict[str, str]:
    """The metadata_props of any ONNX model, value by key, whatever else it holds. Raises DamagedMessageError."""
    found = fields(memoryview(content))
    entries = [value for number, wire_type, value in found if (number, wire_type) == (METADATA_PROPS, BYTES)]
    return _metadata({METADATA_PROPS: entries})


def _metadata(model: Mapping[int, list[Value]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for entry in _messages(model, METADATA_PROPS, 1000, "metadata_props"):
        values = read_message(entry, "metadata_props", _ENTRY)
        key = _text(values, 1)
        if key in found:
            message = f"the metadata {key!r} twice"
            raise DamagedMessageError(message)
        found[key] = _text(values, 2)
    return found


def _initializers(graph: Mapping[int, list[Value]]) -> tuple[Tensor, ...]:
    values = graph.get(5, [])
    _at_most(values, MOST_TENSORS, "initializers")
    found, structure = [], 0
    for value in values:
        data = _bytes(value)
        tensor = _tensor(data)
        structure += len(data) - len(tensor.raw)
        _check_structure(structure, "initializers without their weights")
        found.append(tensor)
    return tuple(found)


def _opset(imports: Sequence[memoryview]) -> int:
    versions = [read_message(entry, "opset_import", _OPSET) for entry in imports]
    if len(versions) != 1 or _text(versions[0], 1):
        found = ", ".join(repr(_text(version, 1)) for version in versions[:5]) or "none"
        message = f"operators of the domains {found}, not of ONNX's own alone"
        raise DamagedMessageError(message)
    return _number(versions[0], 2)


def _node(data: memoryview) -> Node:
    values = read_message(data, "a node", _NODE)
    operator, name = _name(values, 4), _name(values, 3)
    if domain := _text(values, 7):
        message = f"node {name!r} ({operator}) of the domain {domain!r}, not of ONNX's own"
        raise DamagedMessageError(message)
    attributes: dict[str, Attribute] = {}
    for attribute in values.get(5, []):
        key, value = _attribute(_bytes(attribute))
        if key in attributes:
            message = f"the attribute {key!r} of node {name!r} ({operator}) twice"
            raise DamagedMessageError(message)
        attributes[key] = value
    return Node(operator, name, _names(values.get(1, [])), _names(values.get(2, [])), attributes)


def _attribute(data: memoryview) -> tuple[str, Attribute]:
    values = read_message(data, "an attribute", _ATTRIBUTE)
    name, kind, held = _name(values, 1), _number(values, 20), set(values) - {1, 20}
    if kind == _INT_ATTRIBUTE and held <= {3}:
        return name, _number(values, 3)
    if kind == _TEXT_ATTRIBUTE and held <= {4}:
        return name, _name(values, 4)
    if kind == _INTS_ATTRIBUTE and held <= {8}:
        return name, integers(values.get(8, []))
    if kind == _FLOAT_ATTRIBUTE and held <= {2}:
        return name, float32(_bytes(values[2][0])) if 2 in values else 0.0
    message = f"the attribute {name!r} of type {kind}, which EFQ does not write"
    raise DamagedMessageError(message)


def _tensor(data: memoryview) -> Tensor:
    values = read_message(data, "an initializer", _TENSOR)
    name, dtype, dims = _name(values, 8), _number(values, 2), integers(values.get(1, []))
    raw = _bytes(values[9][0]) if 9 in values else memoryview(b"")
    if dtype not in BITS or len(dims) > LARGEST_RANK or any(size < 1 for size in dims):
        message = f"the initializer {name!r} of type {dtype} and shape {list(dims[:8])}, which EFQ does not write"
        raise DamagedMessageError(message)
    expected = -(-math.prod(dims) * BITS[dtype] // 8)
    if len(raw) != expected:
        message = f"the initializer {name!r} of shape {list(dims)} in {len(raw):,} bytes instead of {expected:,}"
        raise DamagedMessageError(message)
    return Tensor(name, dtype, dims, raw)


def _port(data: memoryview) -> Port:
    values = read_message(data, "an input or output", _VALUE_INFO)
    kind = read_message(_one(values, 2, "type of an input or output"), "a type", _TYPE)
    tensor = read_message(_one(kind, 1, "tensor in a type"), "a tensor's type", _TENSOR_TYPE)
    shape = read_message(_one(tensor, 2, "shape of an input or output"), "a shape", _SHAPE)
    _at_most(shape.get(1, []), LARGEST_RANK, "dimensions")
    dims = [read_message(_bytes(dim), "a dimension", _DIMENSION) for dim in shape.get(1, [])]
    return Port(
        _name(values, 1), _number(tensor, 1), tuple(_name(dim, 2) if 1 not in dim else _number(dim, 1) for dim in dims)
    )


def _messages(values: Mapping[int, list[Value]], number: int, most: int, what: str) -> list[memoryview]:
    found = [_bytes(value) for value in values.get(number, [])]
    _at_most(found, most, what)
    _check_structure(sum(map(len, found)), what)
    return found


def _check_structure(size: int, what: str) -> None:
    """It bounds the time of reading: a field takes two bytes or more."""
    if size > LARGEST_STRUCTURE:
        message = f"{what} of {size:,} bytes, more than {LARGEST_STRUCTURE:,}"
        raise DamagedMessageError(message)


def _one(values: Mapping[int, list[Value]], number: int, what: str) -> memoryview:
    if number not in values:
        message = f"no {what}"
        raise DamagedMessageError(message)
    return _bytes(values[number][0])


def _bytes(value: Value) -> memoryview:
    assert isinstance(value, memoryview)
    return value


def _number(values: Mapping[int, list[Value]], number: int) -> int:
    """0 where it is absent, as in every protocol buffer."""
    value = values[number][0] if number in values else 0
    assert isinstance(value, int)
    return signed(value)


def _text(values: Mapping[int, list[Value]], number: int) -> str:
    return text(_bytes(values[number][0])) if number in values else ""


def _name(values: Mapping[int, list[Value]], number: int) -> str:
    return _short(values[number][0]) if number in values else ""


def _names(values: Sequence[Value]) -> tuple[str, ...]:
    _at_most(values, 256, "inputs or outputs of a node")
    return tuple([_short(value) for value in values])


def _short(value: Value) -> str:
    assert isinstance(value, memoryview)
    if len(value) > LONGEST_NAME:
        message = f"a name of {len(value):,} bytes, more than {LONGEST_NAME:,}"
        raise DamagedMessageError(message)
    return text(value)


def _at_most(values: Sequence[Value], most: int, what: str) -> None:
    if len(values) > most:
        message = f"{len(values):,} {what}, more than {most:,}"
        raise DamagedMessageError(message)
