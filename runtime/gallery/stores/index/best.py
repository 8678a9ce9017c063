"""The best rows of chunks by estimates of their cosines, and how good any other row's estimate can be.

An estimate is the float32 product of a probe with a row's codes, times the step between codes. faiss's products are of
the probe's codes as well: its best rows are estimated again, and what the probe lost by rounding bounds the others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.stores.index.chunk import Chunk
from efq.runtime.gallery.stores.index.grid import probe_codes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Best:
    """Of one probe, from the largest estimate on. others: no other row's is above; -inf where there is no other."""

    estimates: NDArray[np.float64]
    keys: NDArray[np.int64]
    groups: NDArray[np.int64]
    others: float

    @classmethod
    def of(
        cls, estimates: NDArray[np.floating], keys: NDArray[np.int64], groups: NDArray[np.int64], others: float
    ) -> Best:
        """In any order; free rows are left out."""
        order = np.argsort(-estimates, kind="stable")
        order = order[keys[order] >= 0]
        return cls(estimates=estimates[order].astype(np.float64), keys=keys[order], groups=groups[order], others=others)

    def kth(self, k: int) -> float | None:
        """The best estimate of the group in place k, None where there are fewer."""
        firsts = np.sort(np.unique(self.groups, return_index=True)[1])
        return float(self.estimates[firsts[k - 1]]) if len(firsts) >= k else None


def coded_best(chunks: Sequence[Chunk], probes: NDArray[np.float32], step: float, count: int) -> list[Best]:
    """The best `count` of each chunk, of one or more, by products of bytes."""
    codes, steps, residuals = probe_codes(probes)
    found: list[list[tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]]] = [[] for _ in probes]
    others = np.full(len(probes), -np.inf)
    for chunk in chunks:
        used = chunk.used
        top = chunk.top(codes, count)
        if used > count:
            others = np.maximum(others, top[0][:, -1] * steps * step)
        for place, probe in enumerate(probes):
            rows = top[1][place]
            rows = rows[rows >= 0]
            found[place].append((chunk.products(rows, probe), chunk.keys[rows], chunk.groups[rows]))
    longest = 1.001 + 0.5 * step * probes.shape[1] ** 0.5  # step * codes of a unit vector: each half a step off at most
    others += residuals * longest
    best = []
    for parts, bound in zip(found, others.tolist(), strict=True):
        products, keys, groups = (np.concatenate(part) for part in zip(*parts, strict=True))
        best.append(Best.of(products * np.float32(step), keys, groups, bound))
    return best


def float_best(chunks: Sequence[Chunk], probes: NDArray[np.float32], step: float, count: int) -> list[Best]:
    """The best `count` of all, by float32 products."""
    estimates = [np.empty(0, np.float32) for _ in probes]
    keys = [np.empty(0, np.int64) for _ in probes]
    groups = [np.empty(0, np.int64) for _ in probes]
    least = np.full(len(probes), -np.inf, np.float32)
    for chunk in chunks:
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
        Best.of(estimates[place] * np.float32(step), keys[place], groups[place], float(least[place]) * step)
        for place in range(len(probes))
    ]


def keys_above(chunks: Sequence[Chunk], probe: NDArray[np.float32], least: float) -> NDArray[np.int64]:
    """Keys of all rows whose product with a probe (d,) is `least` or more."""
    found = [np.empty(0, np.int64)]
    for chunk in chunks:
        for first, block in chunk.scores(probe[None]):
            found.append(chunk.keys[first + np.flatnonzero(block[0] >= np.float32(least))])
    keys = np.concatenate(found)
    return np.asarray(keys[keys >= 0])
