"""Tensors of the student graph as a network's code sees them: reshaped, transposed, sliced, shuffled.

A View is what torch's operations that only move numbers have made of one tensor. It is not told from those operations
but from what they do to the numbers' places: every operation of torch that moves numbers moves them, whatever it is
called.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from efq.toolchain.graph.from_torch.student_graph import shape_of

_IMAGES = 2  # two tell what stays with its image
_SIZES = ("size", "shape", "sizes", "repeats")


@dataclasses.dataclass(frozen=True)
class View:
    """`source`, a node of the student graph, with its numbers in other places."""

    source: fx.Node
    places: Tensor | None = None
    """int64 (2, *shape): for two images the places in the flattened source, the second image's behind the first's.
    None: the source as it is."""
    moved_by: fx.Node | None = None
    """The exported node that last moved numbers."""
    before: View | None = None
    """What it moved them in, where that is a view of the same source."""

    @property
    def shape(self) -> tuple[int, ...]:
        """For one image; of a view that mixes images, whatever is behind its first axis."""
        return shape_of(self.source) if self.places is None else tuple(self.places.shape[1:])

    @property
    def size(self) -> int:
        """Numbers of the source for one image."""
        return _product(shape_of(self.source))

    def all_places(self) -> Tensor:
        """`places`, written out where they are None."""
        if self.places is not None:
            return self.places
        return torch.arange(_IMAGES * self.size).reshape(_IMAGES, *shape_of(self.source))

    def of_one_image(self) -> Tensor | None:
        """(*shape): the places for the first image; None for a view that mixes images."""
        places = self.all_places()
        if len(places) != _IMAGES or not torch.equal(places[0] + self.size, places[1]):
            return None
        return places[0] if not places[0].numel() or int(places[0].max()) < self.size else None

    @property
    def is_whole(self) -> bool:
        """Whether each number of the source is in it once."""
        places = self.of_one_image()
        if places is None or places.numel() != self.size:
            return False
        found = torch.zeros(self.size, dtype=torch.bool)
        found[places.flatten()] = True
        return bool(found.all())


def source_view(node: fx.Node) -> View:
    """A node of the student graph as it is."""
    return View(node)


def moved(node: fx.Node, target: Any, arguments: dict[str, Any], batch: int) -> Any:
    """What the ATen operation `target`, which only moves numbers, makes of the one source among its arguments.

    A View, or a tuple of them. Raises RuntimeError, ValueError or IndexError where it does not do without images.
    """
    views = list(views_in(arguments))
    result = target(**{name: _as_places(name, value, batch) for name, value in arguments.items()})
    if isinstance(result, Tensor):
        return _view(views[0], result, node)
    return tuple(_view(views[0], part, node) for part in result)


def views_in(value: Any) -> Iterator[View]:
    """The views among arguments, in lists too."""
    if isinstance(value, View):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from views_in(part)
    elif isinstance(value, dict):
        yield from views_in(tuple(value.values()))


def _view(before: View, places: Tensor, node: fx.Node) -> View:
    source = before.source
    shape = shape_of(source)
    plain = places.shape == (_IMAGES, *shape) and torch.equal(
        places, torch.arange(_IMAGES * _product(shape)).reshape(_IMAGES, *shape)
    )
    return View(source, None if plain else places, node, before)


def _as_places(name: str, value: Any, batch: int) -> Any:
    if isinstance(value, View):
        return value.all_places().contiguous()
    if isinstance(value, tuple | list):
        numbers = [_as_places(name, part, batch) for part in value]
        if name in _SIZES:
            return [_for_two_images(part, batch) for part in numbers]
        return numbers
    return value


def _for_two_images(size: Any, batch: int) -> Any:
    return size * _IMAGES // batch if type(size) is int and size > 0 and size % batch == 0 else size


def _product(shape: Sequence[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result
