"""Which rows of a gallery could be among the best k for a probe: all that could, by the residuals of rounding."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.gallery import row_lengths
from efq.runtime.gallery.stores.index.best import Best, coded_best, float_best, keys_above
from efq.runtime.gallery.stores.index.chunk import Chunk, FaissChunk, has_faiss
from efq.runtime.gallery.stores.index.grid import Grid

FEW_PROBES = 8  # up to which faiss is the faster one
_MOST_FROM_FAISS = 1024
_FOUND, _FOUND_EACH = 64, 32  # rows looked at, and of them for each that is wanted
_LEAST_ROWS, _MOST_ROWS = 1 << 10, 1 << 16  # of a chunk
_LARGE = 1 << 14  # rows for which faiss is imported, which takes some 20 MB
_FEW_ODD = 256


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """keys: (n,) of all rows that could be among the best k. left_out: no other row is as similar as this or more."""

    keys: NDArray[np.int64]
    left_out: float


class Int8Index:
    """Rows by key, d bytes and 16 more each. Changed by one thread at a time, searched by any number meanwhile.

    A search sees every row that is there all the time, and may or may not see those that come or go meanwhile.
    """

    def __init__(self, size: int, grid: Grid, *, expected: int = 0, faiss: bool | None = None) -> None:
        """`expected`: how many rows there will be, as far as that is known: fewer chunks are searched faster."""
        self._size, self._grid, self._expected = size, grid, expected
        self._faiss = faiss
        self._chunks: tuple[Chunk, ...] = ()
        self._odd: frozenset[int] = frozenset()  # keys of rows whose codes would say too little: always candidates
        self._longest = 0.0
        self._count = 0
        self._changing = threading.Lock()

    def __len__(self) -> int:
        return self._count + len(self._odd)

    @property
    def is_misfit(self) -> bool:
        """Whether so many rows are unlike those the grid was made for that it should be made again."""
        return len(self._odd) > _FEW_ODD + self._count // 100

    def put(self, keys: NDArray[np.int64], groups: NDArray[np.int64], rows: NDArray[np.float32]) -> None:
        """Add rows (n, d) by their keys (n,), each new, and the groups (n,) they are listed under."""
        codes, residuals = self._grid.encode(rows)
        odd = residuals > self._grid.limit
        with self._changing:
            self._odd |= frozenset(keys[odd].tolist())
            self._longest = max(self._longest, float(residuals[~odd].max(initial=0.0)))
            self._fill(keys[~odd], groups[~odd], codes[~odd])

    def remove(self, keys: NDArray[np.int64]) -> None:
        """Overwrite rows; keys that are not there are none."""
        with self._changing:
            self._odd -= frozenset(keys.tolist())
            for chunk in self._chunks:
                places = np.flatnonzero(np.isin(chunk.keys[: chunk.used], keys))
                if len(places):
                    chunk.erase(places)
                    self._count -= len(places)

    def _fill(self, keys: NDArray[np.int64], groups: NDArray[np.int64], codes: NDArray[np.int8]) -> None:
        done = 0
        while done < len(keys):
            chunk, places = self._room(len(keys) - done)
            part = slice(done, done + len(places))
            chunk.put(places, keys[part], groups[part], codes[part])
            done += len(places)
        self._count += len(keys)

    def _room(self, wanted: int) -> tuple[Chunk, NDArray[np.int64]]:
        """At most so many free places of one chunk."""
        total = sum(chunk.capacity for chunk in self._chunks)
        if self._count < total:
            for chunk in self._chunks:
                free = np.flatnonzero(chunk.keys == -1)[:wanted]
                if len(free):
                    return chunk, free
        capacity = min(_MOST_ROWS, max(_LEAST_ROWS, total, self._expected - total))
        is_large = total + capacity >= _LARGE and has_faiss() if self._faiss is None else self._faiss
        chunk = (FaissChunk if is_large else Chunk)(capacity, self._size)
        self._chunks = (*self._chunks, chunk)
        return chunk, np.arange(min(wanted, chunk.capacity))

    def candidates(self, probes: NDArray[np.float32], k: int) -> list[Candidates]:
        """For each of `probes` (P, d), the rows that could be of the best k groups."""
        count = _FOUND + _FOUND_EACH * k
        few = len(probes) <= FEW_PROBES and count <= _MOST_FROM_FAISS and any(one.is_fast for one in self._chunks)
        found = (coded_best if few else float_best)(self._chunks, probes, self._grid.step, count)
        error = self._longest + 4 * (self._size + 8) * 2.0**-24 * (1 + self._longest)  # d products and sums in float32
        errors = (row_lengths(probes) * error).tolist()
        return [
            self._sure(probe, best, error, k, count) for probe, best, error in zip(probes, found, errors, strict=True)
        ]

    def _sure(self, probe: NDArray[np.float32], best: Best, error: float, k: int, count: int) -> Candidates:
        """`error`: how far an estimate may be off the cosine."""
        while (kth := best.kth(k)) is None and best.others > -np.inf:  # the same few people again and again
            count *= 8
            (best,) = float_best(self._chunks, probe[None], self._grid.step, count)
        if kth is None:
            return self._with_odd(best.keys, -np.inf)
        bar = kth - 2 * error
        if best.others < bar:
            return self._with_odd(best.keys[best.estimates >= bar], bar + error)
        return self._with_odd(keys_above(self._chunks, probe, bar / self._grid.step), bar + error)

    def _with_odd(self, keys: NDArray[np.int64], left_out: float) -> Candidates:
        odd = self._odd
        if odd:
            keys = np.union1d(keys, np.fromiter(odd, np.int64, len(odd)))
        return Candidates(keys=keys, left_out=left_out)
