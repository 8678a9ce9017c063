"""A .tflite file of a plan of integer steps (`efq.runtime.native.steps`): the same sums, the same grids.

Bytes of a plan are uint8, those of LiteRT's kernels int8: each is the plan's less 128, and so is its zero point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from efq.export.targets.litert.flatbuffer_file import FlatbufferFile
from efq.runtime.backends.model import INPUT_NAME
from efq.runtime.errors import UsageError
from efq.runtime.native.steps import Grid, Maps, Maximum, MaxPool, Move, Plan, Step, Table

SIGN = 128
"""What a byte of a plan is more than LiteRT's."""

_KEEPS_ITS_GRID = (Maximum, MaxPool, Move)
_DESCRIPTION = "efq: takes uint8 RGB images with channels last, gives embeddings of unit length"


class LiteRtGraph:
    """The file as it grows: which tensor holds which maps of the plan."""

    def __init__(self, plan: Plan) -> None:
        if plan.reshaped:
            refuse("the images", "maps that are another view of others")
        self.file = FlatbufferFile(_DESCRIPTION)
        self._grids = _grids(plan)
        self._tensors: dict[Maps, int] = {}

    def grid(self, maps: Maps) -> Grid:
        """That of the plan's bytes."""
        return self._grids[maps]

    def read(self, maps: Maps) -> int:
        """The tensor of maps that a step before gave."""
        return self._tensors[maps]

    def new(self, name: str, maps: Maps, grid: Grid, dtype: str = "int8") -> int:
        """A tensor of such maps: of `grid`, that of the plan's bytes, with LiteRT's zero point."""
        shape = (1, maps.rows, maps.columns, maps.channels)
        return self.file.tensor(name, shape, dtype, signed(grid) if dtype == "int8" else grid)

    def target(self, step: Step) -> int:
        """The tensor that a step gives."""
        return self.keep(step, self.new(step.node, step.target, self.grid(step.target)))

    def keep(self, step: Step, tensor: int) -> int:
        """`tensor` is what a step gives."""
        self._tensors[step.target] = tensor
        return tensor

    def images(self, maps: Maps) -> int:
        """The graph's input, and behind it the tensor of its bytes."""
        grid = self.grid(maps)
        images = self.new(INPUT_NAME, maps, grid, "uint8")
        self._tensors[maps] = self.new("signed", maps, grid)
        self.file.operator("QUANTIZE", [images], self._tensors[maps], version=2, options="QuantizeOptions")
        return images


Write = Callable[[LiteRtGraph, Any], int]


def write_litert(plan: Plan, writers: Mapping[type[Step], Write]) -> bytes:
    """The file of `plan`, each step written by the writer of its kind, which gives its tensor.

    Raises UsageError for a step that has no such form.
    """
    graph = LiteRtGraph(plan)
    images = graph.images(plan.images)
    last = images
    for step in plan.steps:
        last = writers[type(step)](graph, step)
    return graph.file.content(inputs=[images], outputs=[last])


def signed(grid: Grid) -> Grid:
    """A grid of the plan's bytes as that of LiteRT's."""
    return Grid(grid.scale, grid.zero_point - SIGN)


def refuse(node: str, found: str) -> NoReturn:
    """Raise UsageError for what was `found` at `node`."""
    message = (
        f"expected a graph that can be written for LiteRT, found {found} at {node!r}: export the student for another "
        "target, or choose a recipe without it"
    )
    raise UsageError(message)


def _grids(plan: Plan) -> dict[Maps, Grid]:
    """The grid of every map: as the graph reads them, or that of a neighbour which has the same by what it computes."""
    found: dict[Maps, Grid] = {}
    for maps, grids in plan.grids.items():
        if len(grids) != 1:
            refuse(_node_of(plan, maps), "bytes that are read on two grids")
        (found[maps],) = grids
    for step in reversed(plan.steps):
        if _keeps_its_grid(step) and step.target in found:
            for source in step.sources:
                found.setdefault(source, found[step.target])
    for step in plan.steps:
        if step.target not in found and _keeps_its_grid(step):
            found[step.target] = found[step.sources[0]]
        if _keeps_its_grid(step) and any(found[source] != found[step.target] for source in step.sources):
            refuse(step.node, "bytes of two grids")
    return found


def _keeps_its_grid(step: Step) -> bool:
    return isinstance(step, _KEEPS_ITS_GRID) or (isinstance(step, Table) and clamp_of(step) is not None)


def clamp_of(step: Table) -> int | None:
    """The highest byte that a table lets through which does nothing else; None for any other table."""
    highest = int(step.table.max())
    return highest if np.array_equal(step.table, np.minimum(np.arange(256), highest)) else None


def _node_of(plan: Plan, maps: Maps) -> str:
    return next((step.node for step in plan.steps if step.target is maps), INPUT_NAME)
