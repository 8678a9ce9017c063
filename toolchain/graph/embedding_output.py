"""Which of the things that a network returns is the embedding."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor


def outputs_of(result: Any) -> list[Any]:
    """What a network returns, as a flat list: of tuples, lists, mappings and dataclasses their members, in order."""
    return list(_flat(result))


def place_of_embedding(outputs: list[Any], images: int) -> int | None:
    """The place of the first embedding (`is_embedding`); else of the first float tensor (images, ...), or None."""
    tensors = [
        (place, value)
        for place, value in enumerate(outputs)
        if isinstance(value, Tensor) and value.is_floating_point() and value.dim() and len(value) == images
    ]
    rows = [place for place, value in tensors if is_embedding(value, images)]
    return next(iter([*rows, *(place for place, _ in tensors)]), None)


def is_embedding(value: Any, images: int) -> bool:
    """Whether it is a float tensor (images, d) or (images, d, 1, 1), d of 2 or more."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dim() not in (2, 4):
        return False
    return len(value) == images and value.shape[1] > 1 and value[0, 0].numel() == 1


def embedding_of(result: Any, images: int) -> Tensor | None:
    """The embeddings among what a network returns for `images` images, None where it returns no such tensor."""
    outputs = outputs_of(result)
    place = place_of_embedding(outputs, images)
    return None if place is None else outputs[place]


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = tuple(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = tuple(getattr(value, field.name) for field in dataclasses.fields(value))
    if isinstance(value, tuple | list):
        for part in value:
            yield from _flat(part)
    else:
        yield value
