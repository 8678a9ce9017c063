"""A .tflite file of a plan of integer steps (`efq.runtime.native.steps`): the same sums, the same grids.

Bytes of a plan are uint8, those of LiteRT's kernels int8: each is the plan's less 128, and so is its zero point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from efq.export.targets.litert.flatbuffer_file import FlatbufferFile
from efq.export.targets.litert.grids import grids_of, refuse
from efq.runtime.backends.model import INPUT_NAME
from efq.runtime.native.steps import Grid, Maps, Plan, Step

SIGN = 128
"""What a byte of a plan is more than LiteRT's."""

_DESCRIPTION = "efq: takes uint8 RGB images with channels last, gives embeddings of unit length"


class LiteRtGraph:
    """The file as it grows: which tensor holds which maps of the plan."""

    def __init__(self, plan: Plan) -> None:
        if plan.reshaped:
            refuse("the images", "maps that are another view of others")
        self.file = FlatbufferFile(_DESCRIPTION)
        self._grids = grids_of(plan)
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
