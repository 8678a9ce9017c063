"""A .tflite file as it grows: tensors and operators of one graph, written with the schema that LiteRT brings.

https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import MissingDependencyError
from efq.runtime.litert.module import INSTALL
from efq.runtime.native.steps import Grid

IDENTIFIER = b"TFL3"
_VERSION = 3
_ALIGNMENT = 16  # of every buffer, as the schema asks: kernels read them where they lie

_DTYPES = {"int8": "INT8", "uint8": "UINT8", "int32": "INT32", "float32": "FLOAT32"}


def schema() -> Any:
    """LiteRT's own classes of the schema. Raises MissingDependencyError where they are not installed."""
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        message = f"writing for LiteRT needs ai-edge-litert, which cannot be imported ({error}); {INSTALL}"
        raise MissingDependencyError(message) from error


class FlatbufferFile:
    """Tensors are known by their numbers; every one is of one image."""

    def __init__(self, description: str) -> None:
        self._schema = schema()
        self._model = self._schema.ModelT()
        self._model.version = _VERSION
        self._model.description = description
        self._model.operatorCodes, self._model.buffers = [], [self._schema.BufferT()]
        graph = self._schema.SubGraphT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        graph.name = "main"
        self._graph = graph
        self._model.subgraphs = [graph]
        self._codes: dict[tuple[str, int], int] = {}

    def tensor(self, name: str, shape: Sequence[int], dtype: str, grid: Grid | None = None) -> int:
        """A value that an operator gives, or the graph's input; `grid` is that of its integers."""
        tensor = self._schema.TensorT()
        tensor.name, tensor.shape, tensor.hasRank, tensor.buffer = name, [int(size) for size in shape], True, 0
        tensor.type = getattr(self._schema.TensorType, _DTYPES[dtype])
        if grid is not None:
            tensor.quantization = self._quantization(np.array([grid.scale], np.float32), grid.zero_point, 0)
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def constant(
        self,
        name: str,
        values: NDArray[Any],
        *,
        grid: Grid | None = None,
        scales: NDArray[np.float32] | None = None,
        axis: int = 0,
    ) -> int:
        """Stored numbers; `grid` is that of its integers, or `scales` those along `axis`, whose zero point is 0."""
        number = self.tensor(name, values.shape, values.dtype.name, grid)
        tensor = self._graph.tensors[number]
        buffer = self._schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        tensor.buffer = len(self._model.buffers)
        self._model.buffers.append(buffer)
        if scales is not None:
            tensor.quantization = self._quantization(scales, 0, axis)
        return number

    def operator(
        self, builtin: str, inputs: Sequence[int], output: int, *, version: int, options: str = "", **values: Any
    ) -> int:
        """Add the operator BUILTIN with the fields of its table of options; gives `output`."""
        operator = self._schema.OperatorT()
        operator.opcodeIndex = self._code(builtin, version)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options:
            operator.builtinOptionsType = getattr(self._schema.BuiltinOptions, options)
            table = getattr(self._schema, f"{options}T")()
            for name, value in values.items():
                setattr(table, name, value)
            operator.builtinOptions = table
        self._graph.operators.append(operator)
        return output

    def content(self, *, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file's bytes: the same for the same graph."""
        self._graph.inputs, self._graph.outputs = list(inputs), list(outputs)
        return _packed(self._model, self._schema)

    def _quantization(self, scales: NDArray[np.float32], zero_point: int, axis: int) -> Any:
        found = self._schema.QuantizationParametersT()
        found.scale, found.zeroPoint = scales, np.full(scales.shape, zero_point, np.int64)
        found.quantizedDimension = axis
        return found

    def _code(self, builtin: str, version: int) -> int:
        if (builtin, version) not in self._codes:
            code = self._schema.OperatorCodeT()
            code.builtinCode = getattr(self._schema.BuiltinOperator, builtin)
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
            code.version = version
            self._codes[builtin, version] = len(self._model.operatorCodes)
            self._model.operatorCodes.append(code)
        return self._codes[builtin, version]


def one_operator(content: bytes, number: int) -> bytes:
    """The file of operator `number` of the one in `content` alone: what it reads that is not stored is its input."""
    classes = schema()
    model = classes.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    operator = graph.operators[number]
    used = [int(tensor) for tensor in (*operator.inputs, *operator.outputs)]
    stored = [tensor for tensor in used if model.buffers[graph.tensors[tensor].buffer].data is not None]
    places = {tensor: place for place, tensor in enumerate(dict.fromkeys(used))}
    buffers = [classes.BufferT(), *(model.buffers[graph.tensors[tensor].buffer] for tensor in places)]
    tensors = [graph.tensors[tensor] for tensor in places]
    for place, tensor in enumerate(tensors, start=1):
        tensor.buffer = place
    graph.inputs = [place for tensor, place in places.items() if tensor not in (*stored, *operator.outputs)]
    graph.outputs = [places[int(tensor)] for tensor in operator.outputs]
    operator.inputs = [places[int(tensor)] for tensor in operator.inputs]
    operator.outputs = list(graph.outputs)
    graph.tensors, graph.operators, model.buffers = tensors, [operator], buffers
    return _packed(model, classes)


def _packed(model: Any, classes: Any) -> bytes:
    builder = importlib.import_module("flatbuffers").Builder(2**20)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.Pack = AlignedBuffer(classes, buffer.data).pack
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class AlignedBuffer:
    """What LiteRT's own class writes, at a place that is a multiple of 16."""

    def __init__(self, schema: Any, data: NDArray[np.uint8]) -> None:
        self._schema, self._data = schema, data

    def pack(self, builder: Any) -> int:
        builder.StartVector(1, len(self._data), _ALIGNMENT)
        builder.head -= len(self._data)
        builder.Bytes[builder.head : builder.head + len(self._data)] = self._data.tobytes()
        vector = builder.EndVector()
        self._schema.BufferStart(builder)
        self._schema.BufferAddData(builder, vector)
        return int(self._schema.BufferEnd(builder))
