"""The constants of a graph as arrays: stored numbers, and what a runtime computes of them at load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.onnx_model import (
    BFLOAT16,
    FLOAT,
    INT4,
    INT8,
    INT16,
    INT32,
    INT64,
    UINT8,
    Node,
    Tensor,
)
from efq.runtime.native.refusal import refuse

Array = NDArray[Any]

_STORED = {FLOAT: "<f4", UINT8: "u1", INT8: "i1", INT16: "<i2", INT32: "<i4", INT64: "<i8"}


class Quantized(NamedTuple):
    """Integers times the scale of their first axis, float32."""

    integers: Array
    scales: NDArray[np.float32]


Constant = Array | Quantized


def read_constant(tensor: Tensor) -> Array:
    """Its numbers; bfloat16 as float32, int4 as int8."""
    if tensor.dtype == BFLOAT16:
        wide = np.frombuffer(tensor.raw, "<u2").astype(np.uint32) << np.uint32(16)
        return wide.view(np.float32).reshape(tensor.dims)
    if tensor.dtype == INT4:
        pairs = np.frombuffer(tensor.raw, np.uint8)
        both = np.stack([pairs << 4, pairs & 0xF0], 1).view(np.int8) >> 4
        return both.reshape(-1)[: int(np.prod(tensor.dims, dtype=np.int64))].reshape(tensor.dims)
    if tensor.dtype not in _STORED:
        refuse(tensor.name, f"numbers of the type {tensor.dtype}")
    return np.frombuffer(tensor.raw, _STORED[tensor.dtype]).reshape(tensor.dims)


def fold(node: Node, constants: Mapping[str, Constant]) -> Constant | None:
    """What a node with constant inputs only gives; None for any other."""
    values = [constants[name] for name in node.inputs if name in constants]
    if not values or len(values) != len(node.inputs):
        return None
    name = node.name or node.outputs[0]
    arrays = [value for value in values if not isinstance(value, Quantized)]
    if len(arrays) == len(values):
        if node.operator == "Cast":
            kinds: dict[int, type] = {FLOAT: np.float32, INT8: np.int8, INT32: np.int32}
            return arrays[0].astype(kinds[int(node.attributes["to"])])  # type: ignore[arg-type]
        if node.operator == "Mul":
            return np.multiply(*arrays, dtype=np.float32)
        if node.operator == "DequantizeLinear":
            integers, scales, *zero_points = arrays
            if scales.ndim != 1 or any(zero_point.any() for zero_point in zero_points):
                refuse(name, "weights that are not symmetric by channel")
            return Quantized(integers, scales.astype(np.float32))
    return refuse(name, f"{node.operator} of constants")
