"""An ONNX file read and looked at: its nodes in an order they can be computed in, its weights, its one image."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto
from torch import Tensor

from efq.runtime.errors import CheckpointError
from efq.runtime.file_kinds import FIRST_BYTES, ONNX, kind_of_bytes
from efq.runtime.reading import read_bytes
from efq.toolchain.graph.from_onnx.refusal import OnnxRefusalError, refuse
from efq.toolchain.graph.from_onnx.tensors import MOST_ELEMENTS, read_tensor
from efq.toolchain.graph.record import MOST_NODES

EXPECTED = "a face network in an ONNX file"
LARGEST = 2**31 - 1
"""Bytes of a model without its external data: protobuf's own limit."""

DEFAULT_DOMAINS = ("", "ai.onnx")
OLDEST_OPSET = 7
"""Before it, binary operators broadcast by attributes."""

_OPSETS = (1, 1000)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OnnxModel:
    """A parsed file. nodes: those the outputs need, each behind what it reads. initializers: by name, as stored.

    image, outputs: the declared input and outputs. shapes: of values, as far as the file says them; None an axis of no
    fixed size.
    """

    path: Path
    proto: ModelProto
    opset: int
    nodes: tuple[NodeProto, ...]
    initializers: Mapping[str, TensorProto]
    image: ValueInfoProto
    outputs: tuple[str, ...]
    shapes: Mapping[str, tuple[int | None, ...]]

    def tensor(self, name: str) -> Tensor:
        """The numbers of an initializer. Raises as `read_tensor`."""
        return read_tensor(self.initializers[name], self.path.parent)


def read_model(path: Path) -> OnnxModel:
    """Raises CheckpointError for a file that is no ONNX model, or is of a form that no image goes through."""
    proto = _parse(path)
    try:
        return _model(path, proto)
    except OnnxRefusalError as error:
        raise refused(path, error) from error


def refused(path: Path, error: OnnxRefusalError, place: str = "") -> CheckpointError:
    """The error for `error` in the file `path`; `place` says at which node."""
    message = f"expected {EXPECTED} at {path}, found {place}{error.reason}"
    return CheckpointError(f"{message}; {error.advice}" if error.advice else message)


def _parse(path: Path) -> ModelProto:
    content = read_bytes(path, limit=LARGEST, expected=EXPECTED, error_class=CheckpointError)
    kind = kind_of_bytes(content[:FIRST_BYTES])
    if kind not in (None, ONNX):
        message = f"expected {EXPECTED} at {path}, found {kind.sentence}"
        raise CheckpointError(message)
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, whose classes depend on how it was built
        message = f"expected {EXPECTED} at {path}, found a file that is damaged or truncated; fetch it again"
        raise CheckpointError(message) from error


def _model(path: Path, proto: ModelProto) -> OnnxModel:
    graph = proto.graph
    opset = _opset(proto)
    if proto.functions:
        refuse("functions of its own", "write them out first: onnx.inliner.inline_local_functions")
    if graph.sparse_initializer:
        refuse("sparse weights", "save them as dense ones")
    if not 1 <= len(graph.node) <= MOST_NODES:
        refuse(f"{len(graph.node):,} nodes", f"expected 1 to {MOST_NODES:,}")
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    if len(initializers) < len(graph.initializer):
        refuse("two weights of one name", "the file is damaged: fetch it again")
    if sum(math.prod(tensor.dims) for tensor in graph.initializer) > MOST_ELEMENTS:
        refuse(f"more than {MOST_ELEMENTS:,} weights", "no face network has as many")
    known = {*initializers, *(value.name for value in graph.input)}
    outputs = tuple(value.name for value in graph.output)
    nodes = needed_nodes(sorted_nodes(graph.node, known), outputs)
    made = known.union(*(node.output for node in nodes))
    missing = [name for name in outputs if name not in made]
    if missing or not outputs:
        refuse(f"an output that no node makes ({missing[0][:60]!r})" if missing else "no output", "")
    read = {name for node in nodes for name in node.input}
    images = [value for value in graph.input if value.name not in initializers and value.name in read]
    if len(images) != 1:
        names = ", ".join(value.name[:40] for value in images[:8]) or "none"
        reason = f"{len(images)} inputs that are no weights ({names})"
        refuse(reason, "expected one image; fix the others as initializers")
    declared = (*graph.value_info, *graph.output)
    return OnnxModel(
        path=path,
        proto=proto,
        opset=opset,
        nodes=nodes,
        initializers=initializers,
        image=images[0],
        outputs=outputs,
        shapes={value.name: shape for value in declared if (shape := declared_shape(value)) is not None},
    )


def declared_shape(value: ValueInfoProto) -> tuple[int | None, ...] | None:
    """As the file says it, None for an axis of no fixed size; None where it says nothing."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    return tuple(axis.dim_value if axis.dim_value > 0 else None for axis in kind.shape.dim)


def _opset(proto: ModelProto) -> int:
    versions = [entry.version for entry in proto.opset_import if entry.domain in DEFAULT_DOMAINS]
    if len(versions) != 1 or not _OPSETS[0] <= versions[0] <= _OPSETS[1]:
        refuse(f"opsets {versions[:4]} of ONNX's own operators", "expected one")
    if versions[0] < OLDEST_OPSET:
        advice = f"expected {OLDEST_OPSET} or newer: convert it with onnx.version_converter.convert_version"
        refuse(f"opset {versions[0]}", advice)
    return int(versions[0])


def sorted_nodes(nodes: Iterable[NodeProto], known: set[str]) -> tuple[NodeProto, ...]:
    """In an order in which each node follows those it reads, the file's own where that is one.

    `known`: names that are there from the start. Raises OnnxRefusalError for a value nothing makes, one made twice,
    and a circle.
    """
    waiting = list(nodes)
    made: dict[str, int] = {}
    for number, node in enumerate(waiting):
        for name in filter(None, node.output):
            if name in made or name in known:
                refuse(f"two values of one name ({name[:60]!r})", "the file is damaged: fetch it again")
            made[name] = number
    needs = [{made[name] for name in node.input if name in made} for node in waiting]
    for node in waiting:
        missing = next((name for name in node.input if name and name not in made and name not in known), None)
        if missing is not None:
            reason = f"{node.op_type[:40]} {node.name[:60]!r} reading {missing[:60]!r}, which nothing makes"
            refuse(reason, "the file is damaged: fetch it again")
    if all(before < number for number, found in enumerate(needs) for before in found):
        return tuple(waiting)
    return tuple(waiting[number] for number in _order(needs, waiting))


def needed_nodes(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> tuple[NodeProto, ...]:
    """Those of the sorted `nodes` that `outputs` are computed from."""
    needed, found = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            found.append(node)
    return tuple(found[::-1])


def _order(needs: list[set[int]], nodes: list[NodeProto]) -> list[int]:
    """Kahn 1962: those that wait for nothing, then those that waited for them."""
    readers: dict[int, list[int]] = {}
    for number, found in enumerate(needs):
        for before in found:
            readers.setdefault(before, []).append(number)
    left = [len(found) for found in needs]
    order = [number for number, count in enumerate(left) if not count]
    for number in order:  # grows while it is walked
        for reader in readers.get(number, ()):
            left[reader] -= 1
            if not left[reader]:
                order.append(reader)
    if len(order) < len(nodes):
        node = nodes[next(number for number, count in enumerate(left) if count)]
        refuse(f"a circle of nodes around {node.op_type[:40]} {node.name[:60]!r}", "")
    return order
