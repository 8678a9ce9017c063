"""Pairs whose verdict changes where the student takes the teacher's place, and what the deployed threshold becomes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.rates import RatesAt
from efq.runtime.certificate.thresholds import DeployedThreshold, Flips
from efq.toolchain.evaluation.certificate.matching import Matched
from efq.toolchain.evaluation.certificate.resamples import Resamples
from efq.toolchain.evaluation.certificate.scores import Scores
from efq.toolchain.evaluation.figures.limits import enough_errors


def rates_at(scores: Scores, threshold: float, resamples: Resamples, confidence: float) -> RatesAt:
    """FMR and FNMR of one arrangement at one threshold."""
    return RatesAt(
        threshold=threshold,
        fmr=scores.fmr(threshold, resamples).estimate(confidence),
        fnmr=scores.fnmr(threshold, resamples).estimate(confidence),
    )


def deployed_threshold(
    teacher: Scores,
    student: Scores,
    threshold: float,
    matched: Matched,
    resamples: Resamples,
    confidence: float,
    *,
    stated: bool,
) -> DeployedThreshold:
    """What becomes of the teacher's `threshold`; `matched`, of the student with the same FMR."""
    return DeployedThreshold(
        threshold=threshold,
        stated=stated,
        teacher=rates_at(teacher, threshold, resamples, confidence),
        unchanged=rates_at(student, threshold, resamples, confidence),
        remapped=rates_at(student, matched.threshold, resamples, confidence),
        remapped_low=matched.low,
        remapped_high=matched.high,
        method=matched.method,
        false_matches=matched.false_matches,
        enough_impostors=enough_errors(matched.false_matches),
        flips_unchanged=count_flips(teacher, threshold, student, threshold, resamples, confidence),
        flips_remapped=count_flips(teacher, threshold, student, matched.threshold, resamples, confidence),
    )


def count_flips(
    teacher: Scores,
    threshold: float,
    student: Scores,
    student_threshold: float,
    resamples: Resamples,
    confidence: float,
) -> Flips:
    """Of all pairs of images, which both networks scored alone, each at its own threshold."""
    people, images = resamples.identity[teacher.genuine_ends[:, 0]], resamples.by_person(resamples.identity)
    refused_before, refused_now = teacher.refused(threshold), student.refused(student_threshold)
    flipped = refused_before != refused_now
    trials = resamples.by_person(people)
    genuine = resamples.of_people(resamples.by_person(people[flipped]), trials)
    lost, gained = _exchanged(teacher.accepted(threshold), student.accepted(student_threshold))
    ends = resamples.identity[np.concatenate([lost, gained])]
    impostor = resamples.of_impostors(ends, images, ordered=False)
    return Flips(
        threshold=student_threshold,
        genuine_lost=int((refused_now & ~refused_before).sum()),
        genuine_gained=int((refused_before & ~refused_now).sum()),
        impostor_lost=len(lost),
        impostor_gained=len(gained),
        genuine=genuine.estimate(confidence),
        impostor=impostor.estimate(confidence),
        all_pairs=resamples.of_all(genuine, trials, impostor, images).estimate(confidence),
    )


def _exchanged(before: NDArray[np.int64], now: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs (K, 2) that are in `before` alone, and those in `now` alone."""
    width = np.int64(2**31)
    keys = [pairs[:, 0] * width + pairs[:, 1] for pairs in (before, now)]
    return before[~np.isin(keys[0], keys[1])], now[~np.isin(keys[1], keys[0])]
