"""The curves of a network over all pairs as plain values, for plots and JSON."""

from __future__ import annotations

import dataclasses

import numpy as np

from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.histogram import ScoreHistogram

_POINTS = 200
_BINS = 256  # of 1/128


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkCurves:
    """DET and score histogram of one network.

    fmr, fnmr, thresholds: (T,) points of the DET curve, FMR about evenly in the logarithm, from one impostor pair up.
    genuine, impostor: (B,) pairs with a similarity in each of B equal bins from -1 to 1, upper edge included: FMR and
    FNMR at an edge are sums of them.
    """

    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]
    thresholds: tuple[float, ...]
    genuine: tuple[int, ...]
    impostor: tuple[int, ...]


def curves_of(pairs: AllPairs) -> NetworkCurves | None:
    """None where only the hardest pairs are known."""
    return None if pairs.scores is None else curves_of_scores(pairs.scores)


def curves_of_scores(scores: ScoreHistogram) -> NetworkCurves:
    """Of all pairs of a histogram whose bins are a multiple of 256."""
    curve = scores.det()
    wanted = np.geomspace(1.0 / scores.impostor_pairs, 1.0, _POINTS)
    places = np.unique(np.minimum(np.searchsorted(-curve.fmr, -wanted), len(curve.fmr) - 1))
    genuine, impostor = (counts.reshape(_BINS, -1).sum(axis=1) for counts in (scores.genuine, scores.impostor))
    return NetworkCurves(
        fmr=tuple(curve.fmr[places].tolist()),
        fnmr=tuple(curve.fnmr[places].tolist()),
        thresholds=tuple(curve.thresholds[places].tolist()),
        genuine=tuple(genuine.tolist()),
        impostor=tuple(impostor.tolist()),
    )
