"""What a pickle names instead of holding it: classes, objects, memory, tensors and arrays; none of them is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NoReturn

import torch

MOST_VALUES = 4_000_000  # of a pickle, counted as often as they are referred to
DEEPEST = 100
_LONGEST_PLACE = 100
_LONGEST_NAME = 1000  # of a tensor, with those of what it is in


class PickleContentError(ValueError):
    """A pickle that no torch.save of plain values and tensors wrote; the message ends a sentence with "found"."""


def refuse(found: str) -> NoReturn:
    """Raises PickleContentError."""
    raise PickleContentError(found)


@dataclasses.dataclass(frozen=True)
class Name:
    """A function or class the pickle names."""

    text: str


@dataclasses.dataclass(eq=False)
class Foreign:
    """An object that is not made: of the class or function `name`, its `state`, and its `items` if it is filled."""

    name: str
    state: Any = None
    items: dict[Any, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_module(self) -> bool:
        """Whether it is a network pickled whole (torch.nn.Module)."""
        return isinstance(self.state, dict) and "_modules" in self.state and "_parameters" in self.state


@dataclasses.dataclass(frozen=True)
class StorageRecord:
    """Memory in the file: `key` its record's name, of so many bytes, its numbers of `dtype`."""

    key: str
    bytes: int
    dtype: torch.dtype


@dataclasses.dataclass(frozen=True)
class TensorRecord:
    """A tensor to be made of memory. `kind` is "" for one that is memory with sizes and steps, else what it is instead.

    offset, steps: in numbers of `dtype`.
    """

    kind: str
    storage: StorageRecord | None
    shape: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    offset: int = 0
    dtype: torch.dtype = torch.float32

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclasses.dataclass(eq=False)
class NumpyType:
    """A numpy dtype by its code, such as f4; `order` of its bytes. Empty for one that is more than a number."""

    code: str
    order: str = "="


@dataclasses.dataclass(eq=False)
class ArrayRecord:
    """A numpy array or scalar: its bytes, in columns first where `columns_first`."""

    shape: tuple[int, ...] = ()
    type: NumpyType = dataclasses.field(default_factory=lambda: NumpyType(""))
    columns_first: bool = False
    data: bytes = b""


def items_of(value: Any) -> list[tuple[Any, Any]]:
    """What a dict, list, tuple or filled object holds, by key or place; nothing for another value."""
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    return list(value.items.items()) if isinstance(value, Foreign) else []


def records_of(content: Any) -> Iterator[tuple[str, Any]]:
    """Tensors, arrays and objects in `content` by the keys that lead to them, with dots between; each holder once.

    Raises PickleContentError for values nested or repeated beyond all bounds.
    """
    _check_extent(content)
    yield from _walk("", content, set())


def _walk(place: str, value: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, TensorRecord | ArrayRecord | Foreign):
        yield place, value
    if not isinstance(value, dict | list | tuple | Foreign) or id(value) in seen:
        return
    seen.add(id(value))
    for key, item in items_of(value):
        if isinstance(item, dict | list | tuple | TensorRecord | ArrayRecord | Foreign):
            yield from _walk(f"{place}.{key}"[:_LONGEST_NAME] if place else str(key)[:_LONGEST_NAME], item, seen)


def tensors_of(content: Any) -> Iterator[tuple[str, TensorRecord]]:
    """The records of tensors alone, the keys that lead to them shortened where they are long."""
    for place, value in records_of(content):
        if isinstance(value, TensorRecord):
            yield place if len(place) <= _LONGEST_PLACE else f"{place[:_LONGEST_PLACE]}...", value


def _check_extent(content: Any) -> None:
    """Count every value as often as a walk would meet it; a walk that meets itself again never ends."""
    sizes: dict[int, int] = {}
    depths: dict[int, int] = {}
    open_: set[int] = set()
    waiting: list[tuple[Any, bool]] = [(content, False)]
    while waiting:
        value, leaving = waiting.pop()
        if not isinstance(value, dict | list | tuple | Foreign) or id(value) in sizes:
            continue
        inner = [item for _, item in items_of(value)]
        if not leaving:
            if id(value) in open_:
                refuse("a list or dictionary that contains itself")
            open_.add(id(value))
            waiting.append((value, True))
            waiting.extend((item, False) for item in inner)
            continue
        open_.discard(id(value))
        sizes[id(value)] = 1 + sum(sizes.get(id(item), 1) for item in inner)
        depths[id(value)] = 1 + max((depths.get(id(item), 0) for item in inner), default=0)
        if sizes[id(value)] > MOST_VALUES or depths[id(value)] > DEEPEST:
            refuse(f"more than {MOST_VALUES:,} values, or values nested more than {DEEPEST} deep")
