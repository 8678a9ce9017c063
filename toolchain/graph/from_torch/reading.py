"""A view as an operation can read it: as maps (N, C, H, W) or as features (N, C), moved by operations of a student."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_torch.calls import refuse
from efq.toolchain.graph.from_torch.interim_operations import Unflatten
from efq.toolchain.graph.from_torch.student_graph import StudentGraph, shape_of
from efq.toolchain.graph.from_torch.views import View
from efq.toolchain.graph.operations import Crop, Flatten, SelectChannels

_FAR = 1 << 30
_NO_FORM = (
    "moves numbers in a way that has no integer form: expected slices of rows and columns, channels in any order, and "
    "flattening"
)


@dataclasses.dataclass
class Reader:
    """Writes what moves a view's numbers into `graph`, once for each view."""

    graph: StudentGraph

    def __post_init__(self) -> None:
        self._known: dict[tuple[fx.Node, fx.Node | None, tuple[int, ...]], list[tuple[View, fx.Node]]] = {}

    def node(self, view: View, reader: fx.Node) -> fx.Node:
        """A node that computes `view`, of shape (C, H, W) or (C,).

        Raises LoweringError naming what moved the numbers, or else `reader`, for one that no operation gives.
        """
        if view.places is None:
            return view.source
        known = self._known.setdefault((view.source, view.moved_by, view.shape), [])
        for other, node in known:
            if other.places is not None and torch.equal(other.places, view.places):
                return node
        node = self._written(view, view.moved_by or reader, reader)
        known.append((view, node))
        return node

    @staticmethod
    def reads_maps(view: View) -> bool:
        """Whether operations of a student give `view` (C, H, W) of one source."""
        places, shape = view.of_one_image(), shape_of(view.source)
        return places is not None and (len(shape) == 1 or _parts_of(places, shape) is not None)

    def _written(self, view: View, call: fx.Node, reader: fx.Node) -> fx.Node:
        places = view.of_one_image()
        if places is None:
            refuse(call, "mixes images with each other, or with channels or rows: expected it to keep them apart")
        source_shape = shape_of(view.source)
        if len(view.shape) == len(source_shape) == 3:
            return self._moved_maps(view.source, places, call)
        if len(view.shape) == len(source_shape) == 1:
            return self._selected(view.source, places.tolist(), call)
        if len(view.shape) == 1:
            return self._features_of_maps(view, places, call)
        if len(view.shape) == 3 and len(source_shape) == 1:
            features = self._selected(view.source, places.flatten().tolist(), call)
            return self.graph.call_beside(call, "maps", Unflatten(view.shape), (features,), view.shape)
        return refuse(
            reader, f"reads a tensor of {(1, *view.shape)}, which has no integer form: expected (1, C, H, W) or (1, C)"
        )

    def _moved_maps(self, source: fx.Node, places: Tensor, call: fx.Node) -> fx.Node:
        parts = _parts_of(places, shape_of(source))
        if parts is None:
            refuse(call, _NO_FORM)
        channels, rows, columns = parts
        return self._windowed(self._selected(source, channels, call), rows, columns, call)

    def _windowed(self, node: fx.Node, rows: range, columns: range, call: fx.Node) -> fx.Node:
        """Crop, then of every few rows and columns one: a pooling of windows of one number."""
        channels, height, width = shape_of(node)
        bounds = [
            (part.start, _FAR if len(range(part.start, size, part.step)) == len(part) else part[-1] + 1)
            for part, size in ((rows, height), (columns, width))
        ]
        if bounds != [(0, _FAR), (0, _FAR)]:
            (top, bottom), (left, right) = bounds
            shape = (channels, min(bottom, height) - top, min(right, width) - left)
            crop = Crop(top=top, bottom=bottom, left=left, right=right)
            node = self.graph.call(call, crop, (node,), shape)
        if (rows.step, columns.step) != (1, 1):
            pool = nn.MaxPool2d(1, (rows.step, columns.step))
            node = self.graph.call_beside(call, "stride", pool, (node,), (channels, len(rows), len(columns)))
        return node

    def _selected(self, source: fx.Node, channels: list[int], call: fx.Node) -> fx.Node:
        shape = shape_of(source)
        if channels == list(range(shape[0])):
            return source
        return self.graph.call(call, SelectChannels(channels), (source,), (len(channels), *shape[1:]))

    def _features_of_maps(self, view: View, places: Tensor, call: fx.Node) -> fx.Node:
        """Maps that are moved first, where they were before they were flattened; else all of them, flattened."""
        flattened = _maps_before(view, places)
        if flattened is not None:
            return self.graph.call(call, Flatten(), (self.node(flattened, call),), (len(places),))
        flat = self.graph.call(call, Flatten(), (view.source,), (view.size,))
        return self._selected(flat, places.tolist(), call)


def _maps_before(view: View, places: Tensor) -> View | None:
    """The maps that `view` is the numbers of in their order, where operations of a student move them so."""
    before: View | None = view
    while before is not None:
        found = before.of_one_image() if len(before.shape) == 3 else None
        if found is not None and found.numel() == places.numel() and torch.equal(found.flatten(), places):
            return before if _parts_of(found, shape_of(view.source)) is not None else None
        before = before.before
    return None


def _parts_of(places: Tensor, shape: tuple[int, ...]) -> tuple[list[int], range, range] | None:
    """Channels, rows and columns of maps of `shape` that `places` (C, H, W) are in, or None where they are others."""
    _, height, width = shape
    channels = places[:, 0, 0] // (height * width)
    rows, columns = places[0, :, 0] // width % height, places[0, 0, :] % width
    rebuilt = (channels[:, None, None] * height + rows[:, None]) * width + columns
    vertical, horizontal = _range_of(rows), _range_of(columns)
    if vertical is None or horizontal is None or not torch.equal(rebuilt, places):
        return None
    return channels.tolist(), vertical, horizontal


def _range_of(numbers: Tensor) -> range | None:
    """The range of rising `numbers`, or None."""
    values = numbers.tolist()
    step = values[1] - values[0] if len(values) > 1 else 1
    found = range(values[0], values[-1] + 1, step) if step > 0 else None
    return found if found is not None and list(found) == values else None
