"""What one network does over all thresholds, thinned to what a page and a file of text hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.rates import (
    CosineToTeacher,
    Histogram,
    NetworkFigures,
    OperatingPoint,
    Percentile,
    RateCurve,
)
from efq.toolchain.evaluation.certificate.resamples import rounded
from efq.toolchain.evaluation.figures.error_rates import DetCurve, ScoreHistogram, score_histogram
from efq.toolchain.evaluation.measure import embedding_cosines

_DET_POINTS = 80
_STEPS = 256  # of FMR(t) and FNMR(t)
_BINS = 128
_SHARES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95)


def network_figures(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], points: Sequence[OperatingPoint]
) -> NetworkFigures:
    """Of unit-length `embeddings` (N, d) of the people `labels` (N,), with its operating points."""
    found = score_histogram(embeddings, labels)
    det = found.det()
    return NetworkFigures(
        eer=rounded(found.eer()),
        eer_threshold=float(det.thresholds[np.argmax(det.fmr <= det.fnmr)]),
        points=tuple(points),
        det=_curve(_thinned(det, found.impostor_pairs)),
        curve=_curve(_every_threshold(found)),
        histogram=_histogram(found),
    )


def cosine_to_teacher(student: NDArray[np.float32], teacher: NDArray[np.float32]) -> CosineToTeacher:
    """Of the embeddings (N, d) of the same images."""
    cosines = embedding_cosines(student, teacher)
    return CosineToTeacher(
        mean=rounded(cosines.mean()),
        least=rounded(cosines.min()),
        percentiles=tuple(Percentile(share=share, cosine=rounded(np.quantile(cosines, share))) for share in _SHARES),
    )


def _thinned(det: DetCurve, impostor_pairs: int) -> DetCurve:
    """The points next below FMRs that are evenly spaced in the logarithm, down to one impostor pair."""
    wanted = np.geomspace(1.0 / impostor_pairs, 1.0, _DET_POINTS)
    places = np.unique([int(np.argmax(det.fmr <= fmr * (1 + 1e-9))) for fmr in wanted])
    return DetCurve(thresholds=det.thresholds[places], fmr=det.fmr[places], fnmr=det.fnmr[places])


def _every_threshold(found: ScoreHistogram) -> DetCurve:
    each = len(found.genuine) // _STEPS
    below = np.concatenate([[0], np.cumsum(found.genuine)])[::each] / found.genuine_pairs
    above = 1.0 - np.concatenate([[0], np.cumsum(found.impostor)])[::each] / found.impostor_pairs
    return DetCurve(thresholds=found.edges[::each], fmr=above, fnmr=below)


def _curve(found: DetCurve) -> RateCurve:
    return RateCurve(
        thresholds=tuple(map(float, found.thresholds)),
        fmr=tuple(map(rounded, found.fmr)),
        fnmr=tuple(map(rounded, found.fnmr)),
    )


def _histogram(found: ScoreHistogram) -> Histogram:
    each = len(found.genuine) // _BINS
    return Histogram(
        edges=tuple(map(float, found.edges[::each])),
        genuine=tuple(map(int, found.genuine.reshape(_BINS, each).sum(axis=1))),
        impostor=tuple(map(int, found.impostor.reshape(_BINS, each).sum(axis=1))),
    )
