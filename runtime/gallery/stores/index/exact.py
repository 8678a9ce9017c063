"""Exact search by an index of bytes: its candidates, scored in float64 from the float32 values that are the truth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.stores.index.int8_index import Candidates, Int8Index
from efq.runtime.gallery.stores.ranking import ranked, similarities
from efq.runtime.gallery.stores.store import Match, Template

_MOST_PROBES = 64  # at once
_MOST_FETCHED = 1 << 13
_MOST_TRIES = 100


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Fetched:
    """Rows by ascending key (n,): what is compared (n, d), whose and which face it is."""

    keys: NDArray[np.int64]
    rows: NDArray[np.float32]
    people: Sequence[str]
    faces: Sequence[str]


Fetch = Callable[[NDArray[np.int64]], Fetched]
"""Ascending keys -> those that are still there."""


def exact_search(
    index: Int8Index, fetch: Fetch, probes: NDArray[np.float32], k: int, template: Template
) -> list[tuple[Match, ...]]:
    """The k best matches of each of `probes` (P, d) among the rows of an index.

    Rows that go while it searches may lead to another try. Raises GalleryError after a hundred.
    """
    found: list[tuple[Match, ...]] = []
    step = max(1, min(_MOST_PROBES, _MOST_FETCHED // k))
    for start in range(0, len(probes), step):
        found += _search_part(index, fetch, probes[start : start + step], k, template)
    return found


def _search_part(
    index: Int8Index, fetch: Fetch, probes: NDArray[np.float32], k: int, template: Template
) -> list[tuple[Match, ...]]:
    found: dict[int, tuple[Match, ...]] = {}
    for _ in range(_MOST_TRIES):
        open_places = [place for place in range(len(probes)) if place not in found]
        if not open_places:
            return [found[place] for place in range(len(probes))]
        candidates = index.candidates(probes[open_places], k)
        fetched = fetch(np.unique(np.concatenate([one.keys for one in candidates])))
        for place, one in zip(open_places, candidates, strict=True):
            matches = _scored(one, fetched, probes[place], k, template)
            if one.left_out == -np.inf or (len(matches) == k and matches[-1].similarity >= one.left_out):
                found[place] = matches
    message = "expected a gallery that changes less than a search takes, found others after each try; search again"
    raise GalleryError(message)


def _scored(
    candidates: Candidates, fetched: Fetched, probe: NDArray[np.float32], k: int, template: Template
) -> tuple[Match, ...]:
    at = np.searchsorted(fetched.keys, candidates.keys)
    there = at < len(fetched.keys)
    there[there] = fetched.keys[at[there]] == candidates.keys[there]
    rows = at[there].tolist()
    scores = similarities(fetched.rows[rows], probe)
    people = [fetched.people[row] for row in rows]
    faces = [fetched.faces[row] for row in rows]
    return ranked(people, faces, scores, k, template)
