"""1:N figures of networks on the same faces: everybody's first image is enrolled, the others are searched."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.bootstrap import DEFAULT_RESAMPLES, draw_people
from efq.toolchain.evaluation.figures.search import (
    SearchScores,
    fnir_at_fpir,
    leave_own_person_out,
    search_scores,
)
from efq.toolchain.evaluation.figures.variance import rate_by_people
from efq.toolchain.evaluation.measure import compare_estimates, estimate_of
from efq.toolchain.evaluation.report import Estimate, FpirResult, RankResult, SearchResult

RANKS = (1, 5)
FPIRS = (1e-1, 1e-2, 1e-3)


def measure_search(
    networks: Sequence[NDArray[np.float32]],
    labels: NDArray[np.int64],
    *,
    reference: int | None = None,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> list[SearchResult]:
    """CMC and FNIR@FPIR of each network by its unit-length embeddings (N, d) of the images of people `labels` (N,).

    The first image of each person is the gallery, all others are probes, of which each is searched twice: among all
    for its own person (CMC, FNIR), and among all others for anybody (FPIR). `reference`: place of the network that the
    others are compared with. Intervals resample the people on probes, of this gallery. Raises InputError for fewer than
    two people, or nobody with two images.
    """
    first = np.unique(labels, return_index=True)[1]
    probes = np.setdiff1d(np.arange(len(labels)), first)
    if len(first) < 2 or not len(probes):
        message = f"expected two people or more, one of them with two images, found {len(labels)} of {len(first)}"
        raise InputError(message)
    found = [
        leave_own_person_out(search_scores(vectors[first], labels[first], vectors[probes], labels[probes]))
        for vectors in networks
    ]
    people, person = np.unique(labels[probes], return_inverse=True)
    draws = draw_people(len(people), resamples, seed)
    ranks = [_at_rank(found, person, draws, rank, reference) for rank in RANKS]
    rows = [_at_fpir(found, person, draws, fpir, reference) for fpir in FPIRS]
    return [
        SearchResult(
            enrolled=len(first),
            probes=len(probes),
            ranks=tuple(row[place] for row in ranks),
            rows=tuple(row[place] for row in rows),
        )
        for place in range(len(networks))
    ]


def _at_rank(
    found: Sequence[SearchScores], person: NDArray[np.int64], draws: NDArray[np.int64], rank: int, reference: int | None
) -> list[RankResult]:
    """Of each network; `person` (P,) on each probe, `draws` (R, people)."""
    misses = [scores.rank > rank for scores in found]
    samples = np.stack([1.0 - _resampled_share(missed, person, draws) for missed in misses])
    estimates = [
        _estimate(missed, person, 1.0 - drawn).complement() for missed, drawn in zip(misses, samples, strict=True)
    ]
    compared = compare_estimates(estimates, samples if len(draws) else None, reference)
    return [
        RankResult(rank=rank, rate=rate, reference_rate=reference_rate, difference=difference)
        for rate, reference_rate, difference in compared
    ]


def _at_fpir(
    found: Sequence[SearchScores],
    person: NDArray[np.int64],
    draws: NDArray[np.int64],
    fpir: float,
    reference: int | None,
) -> list[FpirResult]:
    points = [fnir_at_fpir(scores, fpir) for scores in found]
    samples = np.stack([_resampled_fnir(scores, person, draws, fpir) for scores in found])
    estimates = [
        _estimate(scores.mate <= point.threshold, person, drawn)
        for scores, point, drawn in zip(found, points, samples, strict=True)
    ]
    compared = compare_estimates(estimates, samples if len(draws) else None, reference)
    return [
        FpirResult(
            fpir=fpir,
            enough_probes=point.enough_nonmated,
            threshold=point.threshold,
            fnir=fnir,
            reference_threshold=None if reference is None else points[reference].threshold,
            reference_fnir=reference_fnir,
            difference=difference,
        )
        for point, (fnir, reference_fnir, difference) in zip(points, compared, strict=True)
    ]


def _resampled_fnir(
    scores: SearchScores, person: NDArray[np.int64], draws: NDArray[np.int64], fpir: float
) -> NDArray[np.float64]:
    """FNIR at the threshold that each resample sets, (R,); every probe is searched with and without its person."""
    order = np.argsort(-scores.nonmate, kind="stable")
    rates = np.empty(len(draws))
    for place, draw in enumerate(draws):
        weights = draw[person]
        above = np.cumsum(weights[order])
        at = min(int(np.searchsorted(above, fpir * above[-1] + 1e-9, side="right")), len(order) - 1)
        rates[place] = weights[scores.mate <= scores.nonmate[order[at]]].sum() / above[-1]
    return rates


def _resampled_share(
    missed: NDArray[np.bool_], person: NDArray[np.int64], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    people = draws.shape[1]
    misses, probes = np.bincount(person[missed], minlength=people), np.bincount(person, minlength=people)
    return np.asarray((draws @ misses) / (draws @ probes), np.float64)


def _estimate(missed: NDArray[np.bool_], person: NDArray[np.int64], samples: NDArray[np.float64]) -> Estimate:
    people = int(person.max()) + 1
    rate = rate_by_people(np.bincount(person[missed], minlength=people), np.bincount(person, minlength=people))
    return estimate_of(rate.rate, rate.resampled(samples).interval())
