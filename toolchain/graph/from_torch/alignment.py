"""What elementwise operations read: nodes of one layout, and constants as one number a channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from efq.toolchain.graph.from_torch.calls import Call
from efq.toolchain.graph.from_torch.reading import Reader
from efq.toolchain.graph.from_torch.student_graph import shape_of
from efq.toolchain.graph.from_torch.views import View

Aligned = tuple[tuple[fx.Node, ...], View]
"""Nodes that an operation can read, and a view of any of them: where their numbers are in the network's own tensor."""


def align(views: Sequence[View], call: Call, reader: Reader) -> Aligned:
    """`views`, broadcast to the shape of `call`'s output, as nodes of one layout.

    The result of the operation on the nodes has the places of the view. Raises LoweringError where no node gives one.
    """
    shape = call.shape[1:]
    first = views[0]
    if all(_same_places(view, first) for view in views) and first.shape == shape and _stays_moved(first):
        return tuple(view.source for view in views), first
    if len(shape) in (1, 3):
        nodes = tuple(reader.node(_readable(view, shape, call), call.node) for view in views)
        return nodes, spread(View(max(nodes, key=lambda node: math.prod(shape_of(node)))), shape, call)
    base = next((view for view in views if view.shape == shape and view.is_whole), None)
    if base is None:
        call.refuse(
            f"reads tensors of {', '.join(str((1, *view.shape)) for view in views)}, which have no integer form"
        )
    nodes = tuple(reader.node(_in_layout_of(base, view, call), call.node) for view in views)
    return nodes, base


def spread(view: View, shape: tuple[int, ...], call: Call) -> View:
    """`view` broadcast to `shape`, of one image. Raises LoweringError where it cannot be."""
    return view if view.shape == shape else _viewed(view, _wide(view, shape, call), call)


def _wide(view: View, shape: tuple[int, ...], call: Call) -> Tensor:
    places = view.all_places()
    try:
        return places.reshape(len(places), *(1,) * (len(shape) - len(view.shape)), *view.shape).expand(-1, *shape)
    except RuntimeError:
        call.refuse("reads tensors whose sizes mix images with channels or rows: expected it to keep images apart")


def _viewed(view: View, places: Tensor, call: Call) -> View:
    whole = View(view.source).all_places()
    plain = places.shape == whole.shape and torch.equal(places, whole)
    return View(view.source, None if plain else places, view.moved_by or call.node)


def _stays_moved(view: View) -> bool:
    """Whether an elementwise operation is done on the source: where that computes nothing that is not read."""
    return view.places is None or (len(view.shape) != 1 and view.is_whole)


def _same_places(view: View, other: View) -> bool:
    if shape_of(view.source) != shape_of(other.source):
        return False
    if view.places is None or other.places is None:
        return view.places is other.places
    return view.places.shape == other.places.shape and torch.equal(view.places, other.places)


def _readable(view: View, shape: tuple[int, ...], call: Call) -> View:
    """`view` broadcast to `shape` in its channels, and to one row and column where all of them are one number."""
    wide = _wide(view, shape, call)
    if len(shape) == 3 and wide[0, 0].numel() > 1:
        corner = wide[:, :, :1, :1]
        if torch.equal(corner.expand_as(wide), wide):
            return _viewed(view, corner, call)
    return spread(view, shape, call)


def _in_layout_of(base: View, view: View, call: Call) -> View:
    """`view` with its numbers where those that they meet are in the source of `base`."""
    if view is base:
        return View(base.source)
    wanted, wide = base.all_places(), _wide(view, base.shape, call)
    result = torch.empty(wanted.numel(), dtype=torch.int64)
    result[wanted.flatten()] = wide.flatten()
    shape = shape_of(base.source)
    return _readable(_viewed(view, result.reshape(len(wanted), *shape), call), shape, call)


def channelwise(constant: Tensor, view: View, call: Call) -> Tensor | None:
    """`constant`, broadcast to `view`, as one number for each channel of its source (C,); None where it is not so."""
    shape = view.shape
    channels, *sizes = shape_of(view.source)
    if constant.numel() == 1:
        return constant.reshape(1).expand(channels)
    if constant.dim() == len(shape) + 1:
        if len(constant) != 1:
            call.refuse("has a constant for each image of a batch: expected one for all")
        constant = constant[0]
    try:
        wide = constant.expand(shape)
    except RuntimeError:
        return None
    if view.places is not None:
        places = view.of_one_image()
        if places is None:
            return None
        moved = torch.empty(view.size, dtype=constant.dtype)
        moved[places.flatten()] = wide.flatten()
        wide = moved
    numbers = wide.reshape(channels, math.prod(sizes))
    same = torch.isclose(numbers[:, :1].expand_as(numbers), numbers, rtol=0.0, atol=0.0, equal_nan=True)
    return numbers[:, 0] if bool(same.all()) else None
