"""What only moves numbers, as steps of a plan or as another view of the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.onnx_model import Node
from efq.runtime.native.refusal import refuse
from efq.runtime.native.steps import Draft, Maps, Move, Part
from efq.runtime.native.values import Levels, Value

OPERATORS = ("Flatten", "Gather", "Pad", "Reshape", "Slice", "Transpose")


def move(
    draft: Draft, node: Node, name: str, levels: Levels, constants: Sequence[Value], zero_point: int | None
) -> Levels:
    """The bytes that an operator moves; `zero_point` is that of numbers, None where the bytes themselves are moved."""
    match node.operator:
        case "Flatten":
            return Levels(levels.maps, "flat")
        case "Transpose":
            return Levels(levels.maps, "last" if levels.layout == "first" else "first")
        case "Reshape":
            return _reshape(draft, name, levels, _integers(name, constants[0]))
        case "Gather":
            return _select(draft, name, levels, _integers(name, constants[0]))
        case "Slice":
            return _slice(draft, name, levels, [_integers(name, constant) for constant in constants])
        case _:
            return _pad(draft, name, levels, constants, zero_point)


def concatenate(draft: Draft, name: str, parts: Sequence[Levels]) -> Levels:
    """By channels."""
    first = parts[0].maps
    if any((part.maps.rows, part.maps.columns) != (first.rows, first.columns) for part in parts):
        refuse(name, "parts of several sizes")
    if any(part.layout == "flat" and part.maps.rows * part.maps.columns > 1 for part in parts):
        refuse(name, "parts that were flattened")
    target = Maps(rows=first.rows, columns=first.columns, channels=sum(part.maps.channels for part in parts))
    blocks = tuple(Part(source=part.maps, channels=_every(part.maps)) for part in parts)
    draft.steps.append(Move(node=name, target=target, parts=blocks, extent=(first.rows, first.columns)))
    return Levels(target, parts[0].layout)


def _reshape(draft: Draft, name: str, levels: Levels, sizes: Sequence[int]) -> Levels:
    _, rows, columns, channels = sizes if len(sizes) == 4 else (0, 0, 0, 0)
    if levels.layout != "last" or rows * columns * channels != levels.maps.size:
        refuse(name, f"the shape {list(sizes)}")
    target = Maps(rows=rows, columns=columns, channels=channels)
    draft.reshaped[target] = levels.maps
    return Levels(target, "last")


def _select(draft: Draft, name: str, levels: Levels, channels: Sequence[int]) -> Levels:
    maps = levels.maps
    if levels.layout == "last" or (levels.layout == "flat" and maps.rows * maps.columns > 1):
        refuse(name, "channels that were flattened, or of images")
    if not all(0 <= channel < maps.channels for channel in channels):
        refuse(name, f"channels that are none of {maps.channels}")
    target = Maps(rows=maps.rows, columns=maps.columns, channels=len(channels))
    part = Part(source=maps, channels=np.array(channels, np.int32))
    draft.steps.append(Move(node=name, target=target, parts=(part,), extent=(maps.rows, maps.columns)))
    return Levels(target, levels.layout)


def _slice(draft: Draft, name: str, levels: Levels, bounds: Sequence[Sequence[int]]) -> Levels:
    starts, ends, axes = bounds[:3]
    steps = bounds[3] if len(bounds) > 3 else [1] * len(axes)
    if list(axes) == [1] and list(steps) == [1]:
        return _select(draft, name, levels, range(starts[0], min(ends[0], levels.maps.channels)))
    if list(axes) != [2, 3] or levels.layout != "first":
        refuse(name, f"a slice of the axes {list(axes)}")
    maps = levels.maps
    ends = [min(end, size) for end, size in zip(ends, (maps.rows, maps.columns), strict=True)]
    sizes = [-(-(end - start) // step) for start, end, step in zip(starts, ends, steps, strict=True)]
    if min(starts) < 0 or min(sizes) < 1 or min(steps) < 1:
        refuse(name, "a slice of nothing")
    target = Maps(rows=sizes[0], columns=sizes[1], channels=maps.channels)
    start, stride = (starts[0], starts[1]), (steps[0], steps[1])
    part = Part(source=maps, start=start, steps=stride, channels=_every(maps))
    draft.steps.append(Move(node=name, target=target, parts=(part,), extent=(sizes[0], sizes[1])))
    return Levels(target)


def _pad(draft: Draft, name: str, levels: Levels, constants: Sequence[Value], zero_point: int | None) -> Levels:
    sizes = _integers(name, constants[0])
    filling = constants[1]
    assert isinstance(filling, np.ndarray)
    first = 1 if levels.layout == "last" else 2
    above, before, below, behind = (sizes[place] for place in (first, first + 1, first + 4, first + 5))
    if sum(sizes) != above + before + below + behind or min(sizes) < 0 or levels.layout == "flat":
        refuse(name, "padding of other axes than rows and columns")
    if zero_point is not None and filling.item() != 0:
        refuse(name, "padding that is not zero")
    maps = levels.maps
    target = Maps(rows=maps.rows + above + below, columns=maps.columns + before + behind, channels=maps.channels)
    byte = int(filling.item()) if zero_point is None else zero_point
    part = Part(source=maps, channels=_every(maps))
    extent = (maps.rows, maps.columns)
    draft.steps.append(Move(node=name, target=target, parts=(part,), extent=extent, at=(above, before), filling=byte))
    return Levels(target, levels.layout)


def _integers(name: str, value: Value) -> list[int]:
    if not isinstance(value, np.ndarray):
        refuse(name, "sizes that are no constants")
    numbers: NDArray[np.int64] = value.astype(np.int64).reshape(-1)
    return [int(number) for number in numbers]


def _every(maps: Maps) -> NDArray[np.int32]:
    return np.arange(maps.channels, dtype=np.int32)
