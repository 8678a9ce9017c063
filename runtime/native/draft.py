"""A plan that grows while its graph is read."""

from __future__ import annotations

import dataclasses

from efq.runtime.native.steps import Maps, Step


@dataclasses.dataclass(kw_only=True)
class Draft:
    """`reshaped`: maps that are the bytes of others."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    reshaped: dict[Maps, Maps] = dataclasses.field(default_factory=dict)
