"""Searching as a service does, on labelled faces: some people enrolled with one face, others not at all."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.search import SearchScores

_UNENROLLED = 1 / 3
FPIRS = (0.1, 0.01)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OpenSet:
    """Rows of N faces. enrolled: one each of E people. probes: the other faces of these, and all of the others'.

    people: (N,) int64, who is on each face.
    """

    enrolled: NDArray[np.int64]
    probes: NDArray[np.int64]
    people: NDArray[np.int64]


def draw_open_set(people: NDArray[np.int64], *, seed: int = 0) -> OpenSet:
    """A third of the people, drawn, are not enrolled; of the others the first face is, and of those of one face alone.

    Raises InputError where that leaves no probe of either kind.
    """
    codes = np.unique(people, return_inverse=True)[1].astype(np.int64)
    count = int(codes.max()) + 1
    outside = np.zeros(count, bool)
    outside[np.random.default_rng(seed).permutation(count)[: round(count * _UNENROLLED)]] = True
    first = np.unique(codes, return_index=True)[1]
    is_enrolled = np.zeros(len(codes), bool)
    is_enrolled[first[~outside]] = True
    probes = np.flatnonzero(~is_enrolled)
    if not outside[codes[probes]].any() or outside[codes[probes]].all():
        message = (
            f"expected faces of several people, some with two or more, to measure a search on; found {len(codes)} of "
            f"{count}"
        )
        raise InputError(message)
    return OpenSet(enrolled=np.flatnonzero(is_enrolled), probes=probes, people=codes)


def scores_of(similarities: NDArray[np.floating], chosen: OpenSet) -> SearchScores:
    """What (P, E) similarities of all probes to all enrolled faces find: as `search_scores`, of any score."""
    order = np.argsort(chosen.people[chosen.enrolled], kind="stable")
    people, first = np.unique(chosen.people[chosen.enrolled][order], return_index=True)
    best = similarities[:, order]
    if len(people) < len(order):
        best = np.maximum.reduceat(best, first, axis=1)
    person = chosen.people[chosen.probes]
    own = np.minimum(np.searchsorted(people, person), len(people) - 1)
    mated = people[own] == person
    rows, places = np.flatnonzero(mated), own[mated]
    mate, nonmate = best[rows, places], best[~mated].max(axis=1)
    rank = (best[rows] >= mate[:, None]).sum(axis=1)
    best[rows, places] = -np.inf
    return SearchScores(
        mate=mate.astype(np.float32),
        rank=rank,
        other=best[rows].max(axis=1).astype(np.float32),
        nonmate=nonmate.astype(np.float32),
        mate_person=person[mated],
        nonmate_person=person[~mated],
        enrolled=len(people),
    )
