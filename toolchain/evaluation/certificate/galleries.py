"""The four arrangements of gallery and probes: rates at their own thresholds, and at the deployed one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.certificate import ARRANGEMENTS
from efq.runtime.certificate.galleries import Arrangement, SearchFigures
from efq.runtime.certificate.rates import Estimate, OperatingPoint
from efq.toolchain.evaluation.certificate.resamples import Resamples, estimate
from efq.toolchain.evaluation.certificate.scores import Scores
from efq.toolchain.evaluation.certificate.verdicts import rates_at
from efq.toolchain.evaluation.figures.bootstrap import bootstrap_tar
from efq.toolchain.evaluation.figures.far import AllPairs, TarAtFar, tar_at_far
from efq.toolchain.evaluation.figures.intervals import difference_interval
from efq.toolchain.evaluation.figures.variance import fnmr_by_people

Pairs = Mapping[tuple[str, str], AllPairs]
Points = tuple[OperatingPoint, ...]


def points_and_drops(
    pairs: Pairs, fmrs: Sequence[float], *, resamples: int, seed: int, confidence: float
) -> dict[tuple[str, str], tuple[Points, tuple[Estimate, ...]]]:
    """FNMR of each arrangement at its own threshold for each FMR, and the TAR it loses to the teacher alone."""
    found = {arrangement: [tar_at_far(one, fmr) for fmr in fmrs] for arrangement, one in pairs.items()}
    samples = dict(zip(pairs, bootstrap_tar(list(pairs.values()), fmrs, resamples=resamples, seed=seed), strict=True))
    alone = ARRANGEMENTS[0]
    result = {}
    for arrangement, row in found.items():
        drawn = samples[arrangement]
        points = tuple(
            OperatingPoint(
                fmr=point.far,
                threshold=point.threshold,
                fnmr=_missed(pairs[arrangement], point, 1.0 - drawn[:, at], confidence),
                enough_impostors=point.enough_impostors,
            )
            for at, point in enumerate(row)
        )
        drops = tuple(
            _drop(found[alone][at].tar - point.tar, samples[alone][:, at] - drawn[:, at], confidence)
            for at, point in enumerate(row)
        )
        result[arrangement] = points, drops
    return result


def _missed(pairs: AllPairs, point: TarAtFar, samples: NDArray[np.float64], confidence: float) -> Estimate:
    known = fnmr_by_people(pairs, point.threshold)
    return estimate(1.0 - point.tar, known.resampled(samples).interval(confidence))


def _drop(value: float, samples: NDArray[np.float64], confidence: float) -> Estimate:
    return estimate(value, difference_interval(value, samples, confidence))


def arrangement(
    place: tuple[str, str],
    found: tuple[Points, tuple[Estimate, ...]],
    scores: Scores,
    thresholds: tuple[float, float],
    search: SearchFigures | None,
    resamples: Resamples,
    confidence: float,
) -> Arrangement:
    """The record of one; `thresholds`, the teacher's deployed one and the re-mapped one."""
    unchanged, remapped = (rates_at(scores, threshold, resamples, confidence) for threshold in thresholds)
    return Arrangement(
        gallery=place[0],
        probes=place[1],
        points=found[0],
        drops=found[1],
        unchanged=unchanged,
        remapped=remapped,
        search=search,
    )
