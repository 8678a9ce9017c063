"""Rates of each cohort at the one threshold that all share (ISO/IEC 19795-10: differentials, raw rates first)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.certificate import ARRANGEMENTS
from efq.runtime.certificate.cohorts import Cohort, CohortRates, Cohorts, Differential
from efq.runtime.certificate.rates import Estimate
from efq.toolchain.evaluation.certificate.cohort_file import CohortLabels
from efq.toolchain.evaluation.certificate.resamples import Resamples, Share, impostor_pairs, rounded
from efq.toolchain.evaluation.certificate.scores import Scores
from efq.toolchain.evaluation.figures.limits import enough_errors

Arrangements = Mapping[tuple[str, str], Scores]


def cohort_rates(
    labels: CohortLabels,
    scores: Arrangements,
    thresholds: Mapping[tuple[str, str], float],
    resamples: Resamples,
    confidence: float,
) -> Cohorts:
    """FMR and FNMR of each cohort, of pairs of which both images are of it, in each arrangement at its threshold."""
    cohorts = tuple(
        _cohort(name, labels.places == place, scores, thresholds, resamples, confidence)
        for place, name in enumerate(labels.names)
    )
    return Cohorts(
        file=labels.file,
        sha256=labels.sha256,
        thresholds=tuple(thresholds[arrangement] for arrangement in ARRANGEMENTS),
        cohorts=cohorts,
        without=int((labels.places < 0).sum()),
        differentials=tuple(_differential(*ARRANGEMENTS[at], cohorts, at) for at in range(len(ARRANGEMENTS))),
    )


def _cohort(
    name: str,
    inside: NDArray[np.bool_],
    scores: Arrangements,
    thresholds: Mapping[tuple[str, str], float],
    resamples: Resamples,
    confidence: float,
) -> Cohort:
    images = resamples.by_person(resamples.identity[inside])
    alone = _fnmr(scores[ARRANGEMENTS[0]], inside, thresholds[ARRANGEMENTS[0]], resamples)
    rates = []
    for arrangement in ARRANGEMENTS:
        found, threshold = scores[arrangement], thresholds[arrangement]
        each = 2 if found.ordered else 1  # pairs of the same two images err together
        fnmr = _fnmr(found, inside, threshold, resamples)
        ends = found.accepted(threshold)
        ends = ends[inside[ends].all(axis=1)]
        fmr = (
            resamples.of_impostors(resamples.identity[ends], images, ordered=found.ordered) if _pairs(images) else None
        )
        misses = int((found.refused(threshold) & inside[found.genuine_ends].all(axis=1)).sum())
        rates.append(
            CohortRates(
                gallery=arrangement[0],
                probes=arrangement[1],
                fmr=None if fmr is None else fmr.estimate(confidence),
                fnmr=None if fnmr is None else fnmr.estimate(confidence),
                fnmr_rise=None if fnmr is None or alone is None else fnmr.less(alone, confidence),
                false_matches=len(ends),
                false_non_matches=misses,
                few_false_matches=not enough_errors(len(ends) / each),
                few_false_non_matches=not enough_errors(misses / each),
            )
        )
    return Cohort(
        name=name,
        images=int(inside.sum()),
        people=int((images > 0).sum()),
        genuine_pairs=int((images * (images - 1) // 2).sum()),
        impostor_pairs=_pairs(images),
        rates=tuple(rates),
    )


def _pairs(images: NDArray[np.int64]) -> int:
    return int(impostor_pairs(images[None], ordered=False)[0])


def _fnmr(scores: Scores, inside: NDArray[np.bool_], threshold: float, resamples: Resamples) -> Share | None:
    chosen = inside[scores.genuine_ends].all(axis=1)
    if not chosen.any():
        return None
    people = resamples.identity[scores.genuine_ends[:, 0]]
    errors = resamples.by_person(people[chosen & scores.refused(threshold)])
    return resamples.of_people(errors, resamples.by_person(people[chosen]))


def _differential(gallery: str, probes: str, cohorts: Sequence[Cohort], place: int) -> Differential:
    rates = [cohort.rates[place] for cohort in cohorts]
    fmr = _spread([one.fmr for one in rates if not one.few_false_matches])
    fnmr = _spread([one.fnmr for one in rates if not one.few_false_non_matches])
    return Differential(
        gallery=gallery, probes=probes, fmr_gap=fmr[0], fmr_ratio=fmr[1], fnmr_gap=fnmr[0], fnmr_ratio=fnmr[1]
    )


def _spread(rates: Sequence[Estimate | None]) -> tuple[float | None, float | None]:
    """Largest less smallest, and largest by smallest; None for fewer than two."""
    values = [rate.value for rate in rates if rate is not None]
    if len(values) < 2:
        return None, None
    ratio = rounded(max(values) / min(values)) if min(values) > 0 else None
    return rounded(max(values) - min(values)), ratio
