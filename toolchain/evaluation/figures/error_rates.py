"""False match rate and false non-match rate (ISO/IEC 19795-1), exact at a threshold, and their trade-off over all.

FMR is the share of impostor pairs that are accepted, FNMR the share of genuine pairs that are not. A pair is accepted
when its cosine similarity is above the threshold, as in `far`, where FMR is called FAR and 1 - FNMR TAR.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.figures.blocks import compare_in_blocks
from efq.toolchain.evaluation.figures.far import AllPairs, tar_at_far
from efq.toolchain.evaluation.figures.limits import enough_errors

BINS = 16384
"""Of a histogram, from -1 to 1: a threshold is known to 1/8192."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRates:
    """FMR and FNMR at a threshold. `enough_impostors`: whether the FMR is of at least 30 false matches (`limits`)."""

    fmr: float
    fnmr: float
    threshold: float
    enough_impostors: bool


def rates_at_threshold(
    genuine: NDArray[np.floating],
    impostor: NDArray[np.floating],
    threshold: float,
    *,
    impostor_pairs: int | None = None,
) -> ErrorRates:
    """FMR and FNMR of the similarities of genuine (G,) and impostor (K,) pairs, in any order, at a threshold.

    impostor_pairs: how many there are, where `impostor` are only the most alike of them, as in `AllPairs`. Raises
    InputError without genuine or impostor pairs, UsageError where pairs above the threshold may not be among them.
    """
    total = len(impostor) if impostor_pairs is None else impostor_pairs
    if not len(genuine) or not len(impostor):
        message = f"expected genuine and impostor pairs, found {len(genuine)} and {len(impostor)}"
        raise InputError(message)
    if total > len(impostor) and threshold < impostor.min():
        message = f"expected a threshold of at least {impostor.min():.6f}, above which all pairs are kept, found "
        raise UsageError(message + f"{threshold}; keep more with highest_far")
    false_matches = int((impostor > threshold).sum())
    return ErrorRates(
        fmr=false_matches / total,
        fnmr=float((genuine <= threshold).mean()),
        threshold=threshold,
        enough_impostors=enough_errors(false_matches),
    )


def rates_at_fmr(pairs: AllPairs, fmr: float) -> ErrorRates:
    """FNMR at the lowest threshold, of the impostors' similarities, of which the FMR is not above `fmr`: FNMR@FMR.

    The rates are those at that threshold: `fmr` may be less than was asked for. Raises UsageError as `tar_at_far`.
    """
    point = tar_at_far(pairs, fmr)
    accepted = int(np.searchsorted(-pairs.impostor, -np.float32(point.threshold), side="left"))
    return ErrorRates(
        fmr=accepted / pairs.impostor_pairs,
        fnmr=1.0 - point.tar,
        threshold=point.threshold,
        enough_impostors=point.enough_impostors,
    )


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
    right, counts = embeddings if probes is None else probes, np.zeros((2, bins), np.int64)
    for similarities, counted, same, _, _ in compare_in_blocks(
        embeddings, right, identity, block, ordered=probes is not None
    ):
        counts[0] += _histogram(similarities[counted & same], bins)
        counts[1] += _histogram(similarities[counted & ~same], bins)
    return _checked(counts)


def histogram_of_scores(
    genuine: NDArray[np.floating], impostor: NDArray[np.floating], *, bins: int = BINS
) -> ScoreHistogram:
    """Of the similarities of genuine (G,) and impostor (K,) pairs. Raises InputError without either."""
    return _checked(np.stack([_histogram(genuine, bins), _histogram(impostor, bins)]))


def _checked(counts: NDArray[np.int64]) -> ScoreHistogram:
    if not counts.sum(axis=1).all():
        message = f"expected genuine and impostor pairs, found {counts[0].sum()} and {counts[1].sum()}"
        raise InputError(message)
    return ScoreHistogram(genuine=counts[0], impostor=counts[1])


def _histogram(similarities: NDArray[np.floating], bins: int) -> NDArray[np.int64]:
    places = np.ceil((similarities + 1.0) * (bins / 2.0)).astype(np.int64) - 1
    return np.bincount(np.clip(places, 0, bins - 1), minlength=bins)


def _above(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many are above each edge, (B + 1,)."""
    return np.concatenate([np.cumsum(counts[::-1])[::-1], [0]])
