"""A plan that grows while its graph is read."""

from __future__ import annotations

import dataclasses

from efq.runtime.native.steps import Grid, Maps, Step


@dataclasses.dataclass(kw_only=True)
class Draft:
    """`reshaped`: maps that are the bytes of others. grids: see `Plan`."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    reshaped: dict[Maps, Maps] = dataclasses.field(default_factory=dict)
    grids: dict[Maps, set[Grid]] = dataclasses.field(default_factory=dict)
