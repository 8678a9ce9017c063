"""Where the maps of a plan lie: those that are not needed at the same time share memory."""

from __future__ import annotations

from efq.runtime.native.frozen import frozen
from efq.runtime.native.steps import Embedding, Maps, Plan

ALIGNMENT = 64
SLACK = 256
"""Bytes behind each map that a kernel may read, and never uses."""


@frozen
class Places:
    """`offsets` of maps (those of `Plan.place_of`) in memory of `size` bytes."""

    offsets: dict[Maps, int]
    size: int


def place_maps(plan: Plan, *, shared: bool = True) -> Places:
    """The lowest free place for each map, in the order they are computed; `shared` False gives each its own."""
    last: dict[Maps, int] = {}
    for number, step in enumerate(plan.steps):
        for source in step.sources:
            last[plan.place_of(source)] = number
    offsets: dict[Maps, int] = {plan.images: 0}
    living: list[tuple[int, int, int]] = [(0, _room(plan.images), last.get(plan.images, 0))]  # start, end, last step
    size = _room(plan.images)
    for number, step in enumerate(plan.steps):
        target = plan.place_of(step.target)
        if isinstance(step, Embedding):
            offsets[target] = 0  # written to the caller's memory
            continue
        if target in offsets:
            continue
        living = sorted(block for block in living if block[2] >= number or not shared)
        start = 0
        for first, end, _ in living:
            if first - start >= _room(target):
                break
            start = max(start, end)
        offsets[target] = start
        living.append((start, start + _room(target), last.get(target, number)))
        size = max(size, start + _room(target))
    return Places(offsets=offsets, size=max(size, _room(plan.steps[-1].target)))


def _room(maps: Maps) -> int:
    return -(-(maps.size + SLACK) // ALIGNMENT) * ALIGNMENT
