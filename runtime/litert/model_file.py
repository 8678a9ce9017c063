"""A .tflite file as plain records, read without LiteRT: what EFQ writes, and nothing else.

One graph of built-in operators, with its weights inside: no other operators, signatures, metadata, variables, sparse
tensors or buffers elsewhere. Slots and numbers are those of
https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.litert.flatbuffer import REFUSED, DamagedFlatbufferError, Field, FlatbufferReader, Record, Schema

IDENTIFIER = b"TFL3"
VERSION = 3
LARGEST_STRUCTURE = 2**25
"""Bytes of all vectors but weights: scales and zero points of each channel are among them."""

DTYPES = {0: "float32", 2: "int32", 3: "uint8", 9: "int8"}

_ACTIVATION, _PADDING = Field("activation", "i8", 0), Field("padding", "i8", 0)
_STRIDES = {1: Field("column_stride", "i32", 0), 2: Field("row_stride", "i32", 0)}


def _dilations(slot: int) -> dict[int, Field]:
    return {slot: Field("column_dilation", "i32", 1), slot + 1: Field("row_dilation", "i32", 1)}


class Kind(NamedTuple):
    """An operator that EFQ writes: its name, the number of its table of options, and the fields of that."""

    name: str
    options: int
    fields: Mapping[int, Field]


KINDS: Mapping[int, Kind] = {
    0: Kind("ADD", 11, {0: _ACTIVATION, 1: Field("pot_scale", "bool", True)}),
    2: Kind("CONCATENATION", 10, {0: Field("axis", "i32", 0), 1: _ACTIVATION}),
    3: Kind("CONV_2D", 1, {0: _PADDING, **_STRIDES, 3: _ACTIVATION, **_dilations(4), 6: Field("bias_type", REFUSED)}),
    4: Kind(
        "DEPTHWISE_CONV_2D",
        2,
        {0: _PADDING, **_STRIDES, 3: Field("multiplier", "i32", 0), 4: _ACTIVATION, **_dilations(5)},
    ),
    11: Kind("L2_NORMALIZATION", 12, {0: _ACTIVATION}),
    17: Kind(
        "MAX_POOL_2D",
        5,
        {0: _PADDING, **_STRIDES, 3: Field("columns", "i32", 0), 4: Field("rows", "i32", 0), 5: _ACTIVATION},
    ),
    18: Kind("MUL", 21, {0: _ACTIVATION}),
    22: Kind("RESHAPE", 17, {0: Field("shape", "i32s")}),
    34: Kind("PAD", 22, {}),
    36: Kind("GATHER", 23, {0: Field("axis", "i32", 0), 1: Field("batch_dimensions", REFUSED)}),
    40: Kind("MEAN", 27, {0: Field("keeps_dimensions", "bool", False)}),
    45: Kind("STRIDED_SLICE", 32, {slot: Field("mask", REFUSED) for slot in range(6)}),
    53: Kind("CAST", 37, {0: Field("source", "i8", 0), 1: Field("target", "i8", 0)}),
    55: Kind("MAXIMUM", 39, {}),
    57: Kind("MINIMUM", 39, {}),
    60: Kind("PADV2", 43, {}),
    114: Kind("QUANTIZE", 89, {}),
    126: Kind(
        "BATCH_MATMUL", 101, {0: Field("adj_x", REFUSED), 1: Field("adj_y", "bool", False), 2: Field("hybrid", REFUSED)}
    ),
}
"""By the number of the built-in operator."""

_NO_INTEGERS: NDArray[Any] = np.empty(0, np.int64)
_NO_SCALES: NDArray[Any] = np.empty(0, np.float32)
_QUANTIZATION = Schema(
    "the quantization of a tensor",
    {
        0: Field("min", REFUSED),
        1: Field("max", REFUSED),
        2: Field("scale", "f32s", _NO_SCALES),
        3: Field("zero_point", "i64s", _NO_INTEGERS),
        4: Field("details_type", REFUSED),
        5: Field("details", REFUSED),
        6: Field("axis", "i32", 0),
    },
)
_TENSOR = Schema(
    "a tensor",
    {
        0: Field("shape", "i32s"),
        1: Field("type", "i8", 0),
        2: Field("buffer", "u32", 0),
        3: Field("name", "text"),
        4: Field("quantization", "table", {"scale": _NO_SCALES, "zero_point": _NO_INTEGERS, "axis": 0}, _QUANTIZATION),
        5: Field("is_variable", REFUSED),
        6: Field("sparsity", REFUSED),
        7: Field("shape_signature", REFUSED),
        8: Field("has_rank", "bool", False),
        9: Field("variant_tensors", REFUSED),
        10: Field("external_buffer", REFUSED),
    },
)
_OPERATOR = Schema(
    "an operator",
    {
        0: Field("code", "u32", 0),
        1: Field("inputs", "i32s"),
        2: Field("outputs", "i32s"),
        3: Field("options_type", "u8", 0),
        4: Field("options", "place", 0),
    }
    | {slot: Field("other options", REFUSED) for slot in range(5, 14)},
)
_GRAPH = Schema(
    "the graph",
    {
        0: Field("tensors", "tables", schema=_TENSOR),
        1: Field("inputs", "i32s"),
        2: Field("outputs", "i32s"),
        3: Field("operators", "tables", schema=_OPERATOR),
        4: Field("name", "text", ""),
        5: Field("debug_metadata", REFUSED),
    },
)
_CODE = Schema(
    "an operator's code",
    {
        0: Field("short_code", "i8", 0),
        1: Field("custom_code", REFUSED),
        2: Field("version", "i32", 1),
        3: Field("code", "i32", 0),
    },
)
_BUFFER = Schema(
    "a buffer",
    {
        0: Field("data", "bytes", np.empty(0, np.uint8), alignment=16),
        1: Field("offset", REFUSED),
        2: Field("size", REFUSED),
    },
)
_MODEL = Schema(
    "the file",
    {
        0: Field("version", "u32", 0),
        1: Field("codes", "tables", schema=_CODE),
        2: Field("graphs", "tables", schema=_GRAPH),
        3: Field("description", "text", ""),
        4: Field("buffers", "tables", schema=_BUFFER),
        5: Field("metadata_buffer", REFUSED),
        6: Field("metadata", REFUSED),
        7: Field("signature_defs", REFUSED),
        8: Field("external_buffer_groups", REFUSED),
        9: Field("external_buffers", REFUSED),
    },
)


class Tensor(NamedTuple):
    """`data` is None for what an operator gives; scales and zero points are its own, or each place's of `axis`."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    data: NDArray[np.uint8] | None
    scales: NDArray[np.float32]
    zero_points: NDArray[np.int64]
    axis: int


class Operator(NamedTuple):
    """`inputs` and `output` are numbers of tensors."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, Any]


class LiteRtFile(NamedTuple):
    """A graph: `inputs` and `outputs` are numbers of tensors, operators stand in the order they are computed."""

    tensors: Sequence[Tensor]
    operators: Sequence[Operator]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_litert_file(content: bytes) -> LiteRtFile:
    """The records of a file. Raises DamagedFlatbufferError for what is none, or holds what EFQ does not write."""
    reader = FlatbufferReader(content, structure=LARGEST_STRUCTURE)
    model = reader.root(IDENTIFIER, _MODEL)
    if model["version"] != VERSION or len(model["graphs"]) != 1:
        message = f"version {model['version']} with {len(model['graphs'])} graphs, not version {VERSION} with one"
        raise DamagedFlatbufferError(message)
    buffers = [buffer["data"] for buffer in model["buffers"]]
    if not buffers or len(buffers[0]) or sum(map(len, buffers)) > len(content):
        message = "buffers that are larger than the file together, or a first one that is not empty"
        raise DamagedFlatbufferError(message)
    kinds = [_kind(code) for code in model["codes"]]
    (graph,) = model["graphs"]
    tensors = _tensors(graph["tensors"], buffers)
    operators = [_operator(reader, record, kinds, len(tensors)) for record in graph["operators"]]
    inputs, outputs = (_numbers(graph[name], len(tensors)) for name in ("inputs", "outputs"))
    return LiteRtFile(tensors, operators, inputs, outputs)


def _kind(code: Record) -> Kind:
    kind = KINDS.get(code["code"])
    if kind is None or code["short_code"] != min(code["code"], 127) or not 1 <= code["version"] <= 6:
        message = f"the operator {code['code']} of version {code['version']}, which EFQ does not write"
        raise DamagedFlatbufferError(message)
    return kind


def _tensors(records: Sequence[Record], buffers: Sequence[NDArray[np.uint8]]) -> list[Tensor]:
    found, used = [], {0}
    for record in records:
        number, dtype = record["buffer"], DTYPES.get(record["type"])
        if number >= len(buffers) or (number and number in used) or dtype is None:
            message = f"the tensor {record['name']!r} of type {record['type']} in the buffer {number}"
            raise DamagedFlatbufferError(message)
        used.add(number)
        grid = record["quantization"]
        shape = tuple(int(size) for size in record["shape"][:16])
        data = buffers[number] if number else None
        found.append(Tensor(record["name"], dtype, shape, data, grid["scale"], grid["zero_point"], grid["axis"]))
    return found


def _operator(reader: FlatbufferReader, record: Record, kinds: Sequence[Kind], tensors: int) -> Operator:
    if record["code"] >= len(kinds):
        message = f"an operator of the code {record['code']}, of which there are {len(kinds)}"
        raise DamagedFlatbufferError(message)
    kind = kinds[record["code"]]
    outputs = _numbers(record["outputs"], tensors)
    if len(outputs) != 1 or record["options_type"] != kind.options or not record["options"]:
        message = f"{kind.name} with {len(outputs)} outputs and options of type {record['options_type']}"
        raise DamagedFlatbufferError(message)
    options = reader.table(reader.place(record, "options"), Schema(f"the options of {kind.name}", kind.fields))
    return Operator(kind.name, _numbers(record["inputs"], tensors), outputs[0], options)


def _numbers(values: NDArray[Any], tensors: int) -> tuple[int, ...]:
    """Of tensors. Raises DamagedFlatbufferError for one that is none's."""
    found = tuple(int(value) for value in values[:1000])
    if len(values) > len(found) or not all(0 <= number < tensors for number in found):
        message = f"the tensors {list(found)[:8]}, of which there are {tensors}"
        raise DamagedFlatbufferError(message)
    return found
