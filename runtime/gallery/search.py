"""Exact search by cosine similarity, in blocks: nothing is approximated, and memory stays bounded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError

_PROBES = 256  # at once
_ROWS = 1 << 16


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
    starts = np.arange(0, len(gallery), _ROWS)
    blocks = [(int(start), gallery[start : start + _ROWS]) for start in starts]
    return _joined(_best(((first, part @ block.T) for first, block in blocks), k) for part in _parts(probes))


def search_people(
    gallery: NDArray[np.float32], people: NDArray[np.str_], probes: NDArray[np.float32], k: int = 1
) -> Matches:
    """The k people whose most similar face is most similar; `people` (N,) says who is on each row.

    `places` of the result are those in `np.unique(people)`. Raises as `search_faces`.
    """
    _check(gallery, probes, k)
    codes = np.unique(people, return_inverse=True)[1]
    by_person = PeopleRows.of(codes)
    return _joined(_best(by_person.best(part, gallery), k) for part in _parts(probes))


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


def _parts(probes: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    return (probes[start : start + _PROBES] for start in range(0, len(probes), _PROBES))


def _best(blocks: Iterator[tuple[int, NDArray[np.float32]]], k: int) -> Matches:
    """Merge the best of blocks of candidates, each (P, candidates) from a first place on."""
    places: NDArray[np.int64] | None = None
    values: NDArray[np.float32] | None = None
    for first, block in blocks:
        found = _top(block, k)
        similarities = np.take_along_axis(block, found, axis=1)
        found = found + first
        if places is None or values is None:
            places, values = found, similarities
            continue
        together = np.concatenate([values, similarities], axis=1)
        at = np.concatenate([places, found], axis=1)
        kept = np.argsort(-together, axis=1, kind="stable")[:, :k]
        places, values = np.take_along_axis(at, kept, axis=1), np.take_along_axis(together, kept, axis=1)
    assert places is not None
    assert values is not None
    return Matches(places=places, similarities=values)


def _top(block: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(P, min(k, C)) places of the largest values of (P, C), largest first, of equal ones the first."""
    if k == 1:
        return np.asarray(np.argmax(block, axis=1)[:, None])
    if k >= block.shape[1]:
        return np.argsort(-block, axis=1, kind="stable")
    least = -np.partition(-block, k - 1, axis=1)[:, k - 1 : k]
    rows = [np.flatnonzero(row >= bound) for row, bound in zip(block, least, strict=True)]
    return np.stack([at[np.argsort(-row[at], kind="stable")[:k]] for row, at in zip(block, rows, strict=True)])


def _joined(parts: Iterator[Matches]) -> Matches:
    found = list(parts)
    return Matches(
        places=np.concatenate([part.places for part in found]),
        similarities=np.concatenate([part.similarities for part in found]),
    )


def _check(gallery: NDArray[np.float32], probes: NDArray[np.float32], k: int) -> None:
    if k < 1:
        message = f"expected to search for one match or more, found {k}"
        raise UsageError(message)
    for what, array in (("gallery", gallery), ("probes", probes)):
        if array.ndim != 2 or array.dtype != np.float32 or not len(array):
            message = f"expected {what} of shape (N, d), float32, N above zero, found {array.shape} {array.dtype}"
            raise InputError(message)
    if gallery.shape[1] != probes.shape[1]:
        message = (
            f"expected probes of {gallery.shape[1]} values, as the gallery has, found {probes.shape[1]}: they are of "
            "another model; migrate the gallery (efq-migrate)"
        )
        raise InputError(message)
