"""What a runtime says it ran: the graph it executed, and the facts of every tensor in it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

_FLOAT_DTYPES = frozenset({"float", "float16", "bfloat16", "double"})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TensorFact:
    """A tensor as it was in the run: `dtype` in ONNX Runtime's words ("uint8", "float"), `shape` without unknowns."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def is_float(self) -> bool:
        """Whether the elements are floating point numbers of any width."""
        return self.dtype in _FLOAT_DTYPES

    @property
    def elements(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ExecutedNode:
    """A node of the optimized graph; `microseconds` is its median time in one run (all images), 0 if it never ran.

    operations: the operators of the model that it computes, where a runtime says so. computes_in_float: whether its
    kernel does although it reads and writes bytes.
    """

    name: str
    op_type: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    microseconds: float
    operations: tuple[str, ...] = ()
    computes_in_float: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """The optimized graph in topological order, with the facts of every tensor that the runs touched."""

    nodes: tuple[ExecutedNode, ...]
    tensors: Mapping[str, TensorFact]
    graph_input: str
    batch: int
    runtime: str
