"""Histograms of the similarities of all pairs, and the detection error trade-off (DET) that they hold."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.figures.blocks import compare_in_blocks

BINS = 16384
"""Of a histogram, from -1 to 1: a threshold is known to 1/8192."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class DetCurve:
    """FMR and FNMR (T,) at the thresholds (T,), ascending: FMR falls, FNMR rises."""

    thresholds: NDArray[np.float64]
    fmr: NDArray[np.float64]
    fnmr: NDArray[np.float64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ScoreHistogram:
    """How many of all pairs, exactly, have a similarity in each of B equal bins from -1 to 1, upper edge included.

    genuine, impostor: (B,) int64. Rates are exact at the edges; at other thresholds they are those of the nearest edge.
    """

    genuine: NDArray[np.int64]
    impostor: NDArray[np.int64]

    @property
    def edges(self) -> NDArray[np.float64]:
        """(B + 1,), from -1 to 1."""
        return np.linspace(-1.0, 1.0, len(self.genuine) + 1)

    @property
    def genuine_pairs(self) -> int:
        return int(self.genuine.sum())

    @property
    def impostor_pairs(self) -> int:
        return int(self.impostor.sum())

    def fmr(self, threshold: float) -> float:
        """FMR(t), at the nearest edge."""
        return int(self.impostor[self._edge(threshold) :].sum()) / self.impostor_pairs

    def fnmr(self, threshold: float) -> float:
        """FNMR(t), at the nearest edge."""
        return int(self.genuine[: self._edge(threshold)].sum()) / self.genuine_pairs

    def threshold_at(self, fmr: float) -> float:
        """The lowest edge of which the FMR is not above `fmr`. Raises UsageError for one that is no share."""
        if not 0.0 <= fmr <= 1.0:
            message = f"expected an FMR of 0 to 1, found {fmr}"
            raise UsageError(message)
        allowed = fmr * self.impostor_pairs + 1e-9
        return float(self.edges[np.argmax(_above(self.impostor) <= allowed)])

    def det(self) -> DetCurve:
        """The detection error trade-off, at the edges between which there are pairs."""
        above, below = _above(self.impostor), np.concatenate([[0], np.cumsum(self.genuine)])
        moves = np.flatnonzero(np.diff(above, prepend=-1) | np.diff(below, prepend=-1))
        kept = np.unique(np.concatenate([moves, np.maximum(moves - 1, 0)]))
        return DetCurve(
            thresholds=self.edges[kept], fmr=above[kept] / self.impostor_pairs, fnmr=below[kept] / self.genuine_pairs
        )

    def eer(self) -> float:
        """The equal error rate: where FMR and FNMR cross, on the straight line between the edges about it."""
        curve = self.det()
        difference = curve.fmr - curve.fnmr  # falls from 1 to -1
        after = int(np.argmax(difference <= 0.0))
        before = after - 1
        part = difference[before] / (difference[before] - difference[after])
        return float(curve.fnmr[before] + part * (curve.fnmr[after] - curve.fnmr[before]))

    def _edge(self, threshold: float) -> int:
        return int(np.clip(np.rint((threshold + 1.0) * len(self.genuine) / 2.0), 0, len(self.genuine)))


def score_histogram(
    embeddings: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    probes: NDArray[np.float32] | None = None,
    bins: int = BINS,
    block: int = 512,
) -> ScoreHistogram:
    """Of all pairs of the images with unit-length `embeddings` (N, d) and `labels` (N,), in one pass.

    With `probes` (N, d), the same images by another network, of all ordered pairs of two different images, as
    `cross_pairs`. Needs memory for `block` rows of similarities. Raises InputError without genuine or impostor pairs.
    """
    identity = np.unique(labels, return_inverse=True)[1].astype(np.int32)
    right, counts = embeddings if probes is None else probes, ScoreCounts(bins)
    for similarities, counted, same, _, _ in compare_in_blocks(
        embeddings, right, identity, block, ordered=probes is not None
    ):
        counts.add(similarities[counted & same], similarities[counted & ~same])
    return counts.histogram()


def histogram_of_scores(
    genuine: NDArray[np.floating], impostor: NDArray[np.floating], *, bins: int = BINS
) -> ScoreHistogram:
    """Of the similarities of genuine (G,) and impostor (K,) pairs. Raises InputError without either."""
    counts = ScoreCounts(bins)
    counts.add(genuine, impostor)
    return counts.histogram()


class ScoreCounts:
    """The counts of a `ScoreHistogram` of so many bins, of similarities that come in parts."""

    def __init__(self, bins: int = BINS) -> None:
        self._counts = np.zeros((2, bins), np.int64)

    def add(self, genuine: NDArray[np.floating], impostor: NDArray[np.floating]) -> None:
        """Count the similarities of genuine (G,) and impostor (K,) pairs."""
        bins = self._counts.shape[1]
        for counts, similarities in zip(self._counts, (genuine, impostor), strict=True):
            places = np.ceil(similarities * (bins / 2.0)).astype(np.int64) + (bins // 2 - 1)  # exact: a power of two
            counts += np.bincount(np.clip(places, 0, bins - 1), minlength=bins)

    def histogram(self) -> ScoreHistogram:
        """All that was counted. Raises InputError without genuine or without impostor pairs."""
        genuine, impostor = self._counts
        if not genuine.any() or not impostor.any():
            message = f"expected genuine and impostor pairs, found {genuine.sum()} and {impostor.sum()}"
            raise InputError(message)
        return ScoreHistogram(genuine=genuine, impostor=impostor)


def _above(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many are above each edge, (B + 1,)."""
    return np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])
