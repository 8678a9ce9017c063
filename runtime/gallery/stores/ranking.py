"""The last step of every store's search: cosines in float64 of the stored float32 values, best first, ties by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.gallery import SHORTEST, row_lengths
from efq.runtime.gallery.stores.store import Match, Template


def similarities(rows: NDArray[np.float32], probe: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n,) cosines of (n, d) rows with a probe (d,), row by row: equal rows have equal ones wherever they are."""
    return np.asarray((rows * probe.astype(np.float64)).sum(axis=1))


def mean_template(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """(d,) of unit length: the mean of a person's faces (n, d), in the order of their names; zeros where they cancel
    each other out, which are like nobody."""
    mean = rows.astype(np.float64).sum(axis=0)
    length = float(row_lengths(mean[None])[0])
    if length <= SHORTEST * len(rows):
        return np.zeros(rows.shape[1], np.float32)
    return np.asarray(mean / length, np.float32)


def ranked(
    people: Sequence[str], faces: Sequence[str], scores: NDArray[np.float64], k: int, template: Template
) -> tuple[Match, ...]:
    """The best k of candidates, given by row: who, which face (any text for the template "mean") and how similar.

    With "all" each row counts, otherwise each person's best one.
    """
    found: list[Match] = []
    seen: set[str] = set()
    for place in sorted(range(len(people)), key=lambda place: (-scores[place], people[place], faces[place])):
        if template != "all":
            if people[place] in seen:
                continue
            seen.add(people[place])
        face = None if template == "mean" else faces[place]
        found.append(Match(person=people[place], face=face, similarity=float(scores[place])))
        if len(found) == k:
            break
    return tuple(found)
