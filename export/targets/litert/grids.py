"""Which numbers the bytes of a plan stand for: a .tflite file says so of every tensor."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from efq.runtime.backends.model import INPUT_NAME
from efq.runtime.errors import UsageError
from efq.runtime.native.steps import Grid, Maps, Maximum, MaxPool, Move, Plan, Step, Table

_KEEPS_ITS_GRID = (Maximum, MaxPool, Move)


def grids_of(plan: Plan) -> dict[Maps, Grid]:
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


def refuse(node: str, found: str) -> NoReturn:
    """Raise UsageError for what was `found` at `node`."""
    message = (
        f"expected a graph that can be written for LiteRT, found {found} at {node!r}: export the student for another "
        "target, or choose a recipe without it"
    )
    raise UsageError(message)
