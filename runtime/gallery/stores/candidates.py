"""Exact search where a server names candidates in float32: more of them, until none can be missing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.stores.ranking import ranked, similarities
from efq.runtime.gallery.stores.store import Match, Template

_MORE = 8  # times as many a further time
_LEAST = 32


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """The most similar rows by the server's float32: who, which face (any text for "mean"), embeddings (n, d).

    least: the similarity of the last one, in float32; None where there are no others, whatever is asked for.
    """

    people: Sequence[str]
    faces: Sequence[str]
    embeddings: NDArray[np.float32]
    least: float | None


def best_matches(
    candidates: Callable[[int], Candidates],
    probe: NDArray[np.float32],
    k: int,
    template: Template,
    *,
    is_exact: bool = True,
) -> tuple[Match, ...]:
    """The k best of a probe, (d,). `candidates` is asked for so many rows, and again for more, until the last one is
    worse than the k-th best by more than float32 may be wrong: then no other can be better.

    is_exact: without, candidates are an approximation, and asked for again only where they are of too few people.
    """
    limit = (_MORE * k if template == "best" else k) + _LEAST
    slack = 2 * len(probe) * 2.0**-24 * float(np.linalg.norm(probe.astype(np.float64)))
    while True:
        found = candidates(limit)
        matches = ranked(found.people, found.faces, similarities(found.embeddings, probe), k, template)
        if found.least is None:
            return matches
        if len(matches) == k and (not is_exact or found.least + slack < matches[-1].similarity):
            return matches
        limit *= _MORE
