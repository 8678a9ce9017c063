"""Which rows of a gallery could be among the best k for a probe: all that could, by the residuals of rounding."""

from __future__ import annotations

import dataclasses
import threading

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.gallery import row_lengths
from efq.runtime.gallery.stores.index.chunk import Chunk, FaissChunk, has_faiss
from efq.runtime.gallery.stores.index.grid import Grid, probe_codes

FEW_PROBES = 8  # up to which faiss is the faster one
_MOST_FROM_FAISS = 1024
_LEAST_FOUND = 32
_LEAST_ROWS, _MOST_ROWS = 1 << 10, 1 << 16  # of a chunk
_FEW_ODD = 256


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Candidates:
    """keys: (n,) of all rows that could be among the best k. left_out: no other row is as similar as this or more."""

    keys: NDArray[np.int64]
    left_out: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Best:
    """The rows of the largest estimates of one probe, from the largest on, and whether there are no others."""

    estimates: NDArray[np.float64]
    keys: NDArray[np.int64]
    groups: NDArray[np.int64]
    is_all: bool

    def kth(self, k: int) -> float | None:
        """The best estimate of the group in place k, None where there are fewer."""
        firsts = np.sort(np.unique(self.groups, return_index=True)[1])
        return float(self.estimates[firsts[k - 1]]) if len(firsts) >= k else None


class Int8Index:
    """Rows by key, d bytes and 16 more each. Changed by one thread at a time, searched by any number meanwhile.

    A search sees every row that is there all the time, and may or may not see those that come or go meanwhile.
    """

    def __init__(self, size: int, grid: Grid, *, faiss: bool | None = None) -> None:
        self._size, self._grid = size, grid
        self._kind = FaissChunk if (has_faiss() if faiss is None else faiss) else Chunk
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
        chunk = self._kind(min(_MOST_ROWS, max(_LEAST_ROWS, total)), self._size)
        self._chunks = (*self._chunks, chunk)
        return chunk, np.arange(min(wanted, chunk.capacity))

    def candidates(self, probes: NDArray[np.float32], k: int) -> list[Candidates]:
        """For each of `probes` (P, d), the rows that could be of the best k groups."""
        count = max(_LEAST_FOUND, 2 * k)
        few = len(probes) <= FEW_PROBES and count <= _MOST_FROM_FAISS
        found, errors = self._coded_best(probes, count) if few else (None, None)
        if found is None or errors is None:
            found, errors = self._float_best(probes, count), self._float_errors(probes)
        return [
            self._sure(probe, best, float(error), k, count)
            for probe, best, error in zip(probes, found, errors, strict=True)
        ]

    def _sure(self, probe: NDArray[np.float32], best: _Best, error: float, k: int, count: int) -> Candidates:
        while (kth := best.kth(k)) is None and not best.is_all:  # the same few people again and again
            count *= 8
            best = self._float_best(probe[None], count)[0]
        if kth is None:
            return self._with_odd(best.keys, -np.inf)
        bar = kth - 2 * error
        if not best.is_all and best.estimates[-1] >= bar:
            return self._with_odd(self._above(probe, bar), bar + error)
        return self._with_odd(best.keys[best.estimates >= bar], bar + error)

    def _with_odd(self, keys: NDArray[np.int64], left_out: float) -> Candidates:
        odd = self._odd
        if odd:
            keys = np.union1d(keys, np.fromiter(odd, np.int64, len(odd)))
        return Candidates(keys=keys, left_out=left_out)

    def _coded_best(
        self, probes: NDArray[np.float32], count: int
    ) -> tuple[list[_Best] | None, NDArray[np.float64] | None]:
        """By products of bytes; None where there are none."""
        codes, steps, residuals = probe_codes(probes)
        products, keys, groups, rows = [], [], [], 0
        for chunk in self._chunks:
            found = chunk.top(codes, count)
            if found is None:
                return None, None
            products.append(found[0])
            keys.append(np.where(found[1] < 0, -1, chunk.keys[found[1]]))
            groups.append(chunk.groups[found[1]])
            rows += chunk.used
        if not products:
            return None, None
        every = [np.concatenate(parts, axis=1) for parts in (products, keys, groups)]
        estimates = every[0] * (steps * self._grid.step)[:, None]
        best = [
            _best(estimates[place], every[1][place], every[2][place], count, is_all=rows <= count)
            for place in range(len(probes))
        ]
        return best, self._float_errors(probes) + residuals * (1 + self._longest)

    def _float_best(self, probes: NDArray[np.float32], count: int) -> list[_Best]:
        estimates = [np.empty(0, np.float32) for _ in probes]
        keys = [np.empty(0, np.int64) for _ in probes]
        groups = [np.empty(0, np.int64) for _ in probes]
        least = np.full(len(probes), -np.inf, np.float32)
        rows = 0
        for chunk in self._chunks:
            rows += chunk.used
            for first, block in chunk.scores(probes):
                above = block > least[:, None]
                for place in np.flatnonzero(above.any(axis=1)):
                    at = np.flatnonzero(above[place])
                    together = np.concatenate([estimates[place], block[place, at]])
                    kept = slice(None) if len(together) <= count else np.argpartition(-together, count - 1)[:count]
                    estimates[place] = together[kept]
                    keys[place] = np.concatenate([keys[place], chunk.keys[first + at]])[kept]
                    groups[place] = np.concatenate([groups[place], chunk.groups[first + at]])[kept]
                    if len(estimates[place]) >= count:
                        least[place] = estimates[place].min()
        return [
            _best(estimates[place] * self._grid.step, keys[place], groups[place], count, is_all=rows <= count)
            for place in range(len(probes))
        ]

    def _above(self, probe: NDArray[np.float32], bar: float) -> NDArray[np.int64]:
        """Keys of all rows whose estimate is `bar` or more."""
        found = [np.empty(0, np.int64)]
        least = np.float32(bar / self._grid.step)
        for chunk in self._chunks:
            for first, block in chunk.scores(probe[None]):
                found.append(chunk.keys[first + np.flatnonzero(block[0] >= least)])
        keys = np.concatenate(found)
        return np.asarray(keys[keys >= 0])

    def _float_errors(self, probes: NDArray[np.float32]) -> NDArray[np.float64]:
        """(P,) how far estimates by float32 products may be off: residuals, and rounding of d products and sums."""
        rounding = 4 * (self._size + 8) * 2.0**-24 * (1 + self._longest)
        return row_lengths(probes) * (self._longest + rounding)


def _best(
    estimates: NDArray[np.floating], keys: NDArray[np.int64], groups: NDArray[np.int64], count: int, *, is_all: bool
) -> _Best:
    """The largest `count`. Free rows go after that: with an estimate of 0 one may have taken the place of another."""
    order = np.argsort(-estimates, kind="stable")[:count]
    order = order[keys[order] >= 0]
    return _Best(estimates=estimates[order].astype(np.float64), keys=keys[order], groups=groups[order], is_all=is_all)
