"""What a pass over a graph tells."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassResult:
    """What a pass did: how many nodes it changed, and lines a user should read."""

    changed: int
    notes: tuple[str, ...] = ()
