"""Exact search by cosine similarity, in blocks: nothing is approximated, and memory stays bounded.

Float32 products say which candidates could be among the best; these are ordered by float64, so that ranks and ties do
not depend on how probes are batched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError

_PROBES = 256  # at once
_ROWS = 1 << 16
_EXACT_ROWS = 1 << 12

Blocks = Callable[[NDArray[np.float32]], Iterator[tuple[int, NDArray[np.float32]]]]
Exact = Callable[[NDArray[np.float32], NDArray[np.int64]], NDArray[np.float64]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Matches:
    """The best k of a search for each of P probes, best first; of equal ones the first in the gallery.

    places: (P, k) int64, rows of the gallery, or places in the sorted names of its people.
    similarities: (P, k) float32.
    """

    places: NDArray[np.int64]
    similarities: NDArray[np.float32]


def search_faces(gallery: NDArray[np.float32], probes: NDArray[np.float32], k: int = 1) -> Matches:
    """The k most similar rows of `gallery` (N, d) for each of `probes` (P, d), all of unit length.

    Raises InputError for arrays that do not fit, UsageError for a k below one; of fewer than k rows all are found.
    """
    _check(gallery, probes, k)

    def blocks(part: NDArray[np.float32]) -> Iterator[tuple[int, NDArray[np.float32]]]:
        return ((start, part @ gallery[start : start + _ROWS].T) for start in range(0, len(gallery), _ROWS))

    return _search(probes, k, blocks, lambda probe, places: _similarities(gallery, places, probe))


def search_people(
    gallery: NDArray[np.float32], people: NDArray[np.str_], probes: NDArray[np.float32], k: int = 1
) -> Matches:
    """The k people whose most similar face is most similar; `people` (N,) says who is on each row.

    `places` of the result are those in `np.unique(people)`. Raises as `search_faces`.
    """
    _check(gallery, probes, k)
    codes = np.unique(people, return_inverse=True)[1]
    by_person = PeopleRows.of(codes)

    def exact(probe: NDArray[np.float32], people: NDArray[np.int64]) -> NDArray[np.float64]:
        rows, starts = by_person.rows_of(people)
        return np.asarray(np.maximum.reduceat(_similarities(gallery, rows, probe), starts))

    return _search(probes, k, lambda part: by_person.best(part, gallery), exact)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PeopleRows:
    """Which rows are of which person: `order` (N,) sorts rows by person, `starts` (people,) where each begins in it."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, codes: NDArray[np.int64]) -> PeopleRows:
        """Of the place (N,) of each row's person, all of 0 to P - 1 there."""
        order = np.argsort(codes, kind="stable")
        return cls(order=order, starts=np.searchsorted(codes[order], np.arange(codes.max() + 1)))

    def rows_of(self, people: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows of some people, one after another, and (len(people),) where each one's begin among these."""
        ends = np.append(self.starts[1:], len(self.order))
        rows = [self.order[self.starts[person] : ends[person]] for person in people]
        return np.concatenate(rows), np.cumsum([0, *(len(one) for one in rows[:-1])])

    def best(
        self, probes: NDArray[np.float32], gallery: NDArray[np.float32]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Blocks of people: the first one's place, and (P, people) float32: the best similarity of each one's faces."""
        ends = np.append(self.starts[1:], len(self.order))
        person = 0
        while person < len(self.starts):
            last = int(np.searchsorted(ends, self.starts[person] + _ROWS, side="right"))
            last = max(last, person + 1)  # a person of more faces than a block has
            start, end = self.starts[person], ends[last - 1]
            similarities = probes @ gallery[self.order[start:end]].T
            yield person, np.maximum.reduceat(similarities, self.starts[person:last] - start, axis=1)
            person = last


def _search(probes: NDArray[np.float32], k: int, blocks: Blocks, exact: Exact) -> Matches:
    """The best k candidates for each probe: those of each block that float32 cannot rule out, ordered by `exact`."""
    places, similarities = [], []
    for start in range(0, len(probes), _PROBES):
        part = probes[start : start + _PROBES]
        slack = 2 * part.shape[1] * 2.0**-24 * np.linalg.norm(part.astype(np.float64), axis=1)
        found = [(np.empty(0, np.int64), np.empty(0)) for _ in part]
        for first, block in blocks(part):
            least = _kth(block, k) - slack
            for place, row in enumerate(block):
                at = first + np.flatnonzero(row >= least[place])
                together = np.concatenate([found[place][1], exact(part[place], at)])
                kept = np.argsort(-together, kind="stable")[:k]
                found[place] = np.concatenate([found[place][0], at])[kept], together[kept]
        places += [at for at, _ in found]
        similarities += [values for _, values in found]
    return Matches(places=np.stack(places), similarities=np.stack(similarities).astype(np.float32))


def _kth(block: NDArray[np.float32], k: int) -> NDArray[np.float64]:
    """(P,) the k-th largest of each row of (P, C), -inf where there are fewer."""
    if k > block.shape[1]:
        return np.full(len(block), -np.inf)
    found = block.max(axis=1) if k == 1 else -np.partition(-block, k - 1, axis=1)[:, k - 1]
    return found.astype(np.float64)


def _similarities(
    gallery: NDArray[np.float32], rows: NDArray[np.int64], probe: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(len(rows),) in float64, row by row, so that the same embedding gives the same wherever it is."""
    exact = probe.astype(np.float64)
    starts = range(0, len(rows), _EXACT_ROWS)
    return np.concatenate([(gallery[rows[start : start + _EXACT_ROWS]] * exact).sum(axis=1) for start in starts])


def _check(gallery: NDArray[np.float32], probes: NDArray[np.float32], k: int) -> None:
    if k < 1:
        message = f"expected to search for one match or more, found {k}"
        raise UsageError(message)
    for what, array in (("gallery", gallery), ("probes", probes)):
        if array.ndim != 2 or array.dtype != np.float32 or not len(array):
            message = f"expected {what} of shape (N, d), float32, N above zero, found {array.shape} {array.dtype}"
            raise InputError(message)
    if not np.isfinite(probes).all():
        message = f"expected finite probes, found {int((~np.isfinite(probes).all(axis=1)).sum())} that are not"
        raise InputError(message)
    if gallery.shape[1] != probes.shape[1]:
        message = (
            f"expected probes of {gallery.shape[1]} values, as the gallery has, found {probes.shape[1]}: they are of "
            "another model; migrate the gallery (efq-migrate)"
        )
        raise InputError(message)
