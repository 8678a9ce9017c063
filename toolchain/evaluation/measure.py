"""Figures of one network, or of several beside a reference, on the same faces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.toolchain.evaluation.figures.bootstrap import (
    DEFAULT_RESAMPLES,
    bootstrap_fold_accuracy,
    bootstrap_tar,
    percentile_interval,
    tar_interval,
)
from efq.toolchain.evaluation.figures.far import AllPairs, TarAtFar, all_pairs, equal_decisions, tar_at_far
from efq.toolchain.evaluation.figures.intervals import Interval, difference_interval
from efq.toolchain.evaluation.figures.rates import DECISION_FAR, EVALUATED_FARS
from efq.toolchain.evaluation.figures.separation import cosine_of_different
from efq.toolchain.evaluation.figures.verification import fold_accuracy, pair_similarities
from efq.toolchain.evaluation.protocols.chance import chance_accuracy, check_balance, check_sides
from efq.toolchain.evaluation.protocols.faces import IndexedPairs
from efq.toolchain.evaluation.protocols.validity import (
    check_embeddings,
    check_labels,
    check_pairs,
)
from efq.toolchain.evaluation.report import Agreement, AllPairsResult, Estimate, FarResult, FoldResult

Embeddings = NDArray[np.float32]
_Compared = tuple[Estimate, Estimate | None, Estimate | None]  # a network, the reference, their difference


def measure_all_pairs(
    model: Embeddings,
    labels: NDArray[np.int64],
    *,
    reference: Embeddings | None = None,
    fars: Sequence[float] = EVALUATED_FARS,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AllPairsResult:
    """TAR@FAR over all pairs of images, with bootstrap intervals and, given a `reference`, the difference to it.

    `model` (N, d), `reference` (N, e): unit-length embeddings of the same images; `labels` (N,). `resamples` 0 leaves
    the intervals out. Raises InputError for labels and embeddings that `evaluate` would refuse.
    """
    check_labels(labels)
    _check_embeddings(model, reference)
    networks = [all_pairs(values, labels, highest_far=max(fars)) for values in _present(model, reference)]
    place = None if reference is None else 1
    return compare_all_pairs(networks, fars, reference=place, resamples=resamples, seed=seed)[0]


def compare_all_pairs(
    networks: Sequence[AllPairs], fars: Sequence[float], *, reference: int | None, resamples: int, seed: int = 0
) -> list[AllPairsResult]:
    """TAR@FAR and EER of each network on the same images and resamples; its difference to that at place `reference`."""
    if not networks:
        return []
    found = [[tar_at_far(pairs, far) for pairs in networks] for far in fars]
    samples = bootstrap_tar(networks, fars, resamples=resamples, seed=seed) if resamples and len(fars) else None
    rows = [
        _far_rows(networks, points, None if samples is None else samples[:, :, place], reference)
        for place, points in enumerate(found)
    ]
    eers = [None if pairs.scores is None else pairs.scores.eer() for pairs in networks]
    return [
        AllPairsResult(
            images=int(pairs.identity_sizes.sum()),
            identities=len(pairs.identity_sizes),
            genuine_pairs=len(pairs.genuine),
            impostor_pairs=pairs.impostor_pairs,
            rows=tuple(row[place] for row in rows),
            eer=eers[place],
            reference_eer=None if reference is None else eers[reference],
        )
        for place, pairs in enumerate(networks)
    ]


def _far_rows(
    networks: Sequence[AllPairs],
    points: Sequence[TarAtFar],
    samples: NDArray[np.float64] | None,
    reference: int | None,
) -> list[FarResult]:
    """What each network does at one FAR; `samples` (networks, resamples)."""
    estimates = [Estimate(value=point.tar) for point in points]
    if samples is not None:
        intervals = map(tar_interval, networks, points, samples)
        estimates = [estimate_of(point.tar, interval) for point, interval in zip(points, intervals, strict=True)]
    compared = compare_estimates(estimates, samples, reference)
    return [
        FarResult(
            far=point.far,
            enough_impostors=point.enough_impostors,
            threshold=point.threshold,
            tar=tar,
            reference_threshold=None if reference is None else points[reference].threshold,
            reference_tar=reference_tar,
            difference=difference,
        )
        for point, (tar, reference_tar, difference) in zip(points, compared, strict=True)
    ]


def measure_folds(
    name: str,
    model: Embeddings,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    same: NDArray[np.bool_],
    folds: NDArray[np.int64],
    *,
    reference: Embeddings | None = None,
    skipped_pairs: int = 0,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> FoldResult:
    """k-fold accuracy over the pairs (first[i], second[i]) of images, with intervals as `measure_all_pairs`.

    Raises InputError for pairs and embeddings that `evaluate` would refuse.
    """
    check_pairs(name, first, second, same, folds)
    _check_embeddings(model, reference)
    pairs = IndexedPairs(name=name, first=first, second=second, same=same, folds=folds, skipped=skipped_pairs)
    place = None if reference is None else 1
    return compare_folds(_present(model, reference), pairs, reference=place, resamples=resamples, seed=seed)[0]


def compare_folds(
    networks: Sequence[Embeddings], pairs: IndexedPairs, *, reference: int | None, resamples: int, seed: int = 0
) -> list[FoldResult]:
    """k-fold accuracy of each network on the same pairs and resamples; otherwise as `compare_all_pairs`.

    Raises InputError as `check_sides` and `check_balance` do.
    """
    similarities = [pair_similarities(values, pairs.first, pairs.second) for values in networks]
    check_sides(pairs.name, similarities, pairs.same)
    found = [fold_accuracy(values, pairs.same, pairs.folds) for values in similarities]
    samples = None
    if resamples:
        samples = bootstrap_fold_accuracy(similarities, pairs.same, pairs.folds, resamples=resamples, seed=seed)
    estimates = [Estimate(value=result.accuracy) for result in found]
    if samples is not None:
        intervals = map(percentile_interval, samples)
        estimates = [estimate_of(result.accuracy, interval) for result, interval in zip(found, intervals, strict=True)]
    compared = compare_estimates(estimates, samples, reference)
    results = [
        FoldResult(
            name=pairs.name,
            pairs=len(pairs.same),
            skipped_pairs=pairs.skipped,
            near_pairs=pairs.near,
            chance=chance_accuracy(pairs.same, pairs.folds),
            accuracy=accuracy,
            standard_deviation=result.standard_deviation,
            fold_accuracies=result.folds,
            reference_accuracy=reference_accuracy,
            difference=difference,
        )
        for result, (accuracy, reference_accuracy, difference) in zip(found, compared, strict=True)
    ]
    check_balance(results)
    return results


def measure_agreement(model: Embeddings, reference: Embeddings, pairs: AllPairsResult | None = None) -> Agreement:
    """How alike two networks embed and decide; `pairs`, of the same images, gives their thresholds at a FAR of 1e-4."""
    row = next((row for row in pairs.rows if row.far == DECISION_FAR), None) if pairs else None
    if row is None or row.reference_threshold is None:
        return agreement_at(model, reference, DECISION_FAR, None)
    return agreement_at(model, reference, DECISION_FAR, (row.threshold, row.reference_threshold))


def agreement_at(
    model: Embeddings, reference: Embeddings, far: float | None, thresholds: tuple[float, float] | None
) -> Agreement:
    """How alike two networks embed, and decide at a FAR, at which they have the `thresholds`; None: not compared."""
    equal = None if thresholds is None else equal_decisions(model, thresholds[0], reference, thresholds[1])
    different = cosine_of_different(model) if len(model) > 1 else None
    if model.shape != reference.shape:
        return Agreement(
            cosine_mean=None,
            cosine_p1=None,
            cosine_min=None,
            far=far,
            equal_decisions=equal,
            cosine_different=different,
        )
    cosines = embedding_cosines(model, reference)
    return Agreement(
        cosine_mean=float(cosines.mean()),
        cosine_p1=float(np.quantile(cosines, 0.01)),
        cosine_min=float(cosines.min()),
        far=far,
        equal_decisions=equal,
        cosine_different=different,
    )


def embedding_cosines(first: Embeddings, second: Embeddings) -> NDArray[np.float64]:
    """The cosine of each image's two embeddings (N,), from unit-length (N, d) and (N, d)."""
    return np.asarray(np.einsum("ij,ij->i", first.astype(np.float64), second.astype(np.float64)), np.float64)


def _check_embeddings(model: Embeddings, reference: Embeddings | None) -> None:
    for name, vectors in zip(("model", "reference"), _present(model, reference), strict=False):
        check_embeddings(name, vectors)


def _present(model: Embeddings, reference: Embeddings | None) -> list[Embeddings]:
    return [model] if reference is None else [model, reference]


def compare_estimates(
    estimates: Sequence[Estimate], samples: NDArray[np.float64] | None, reference: int | None
) -> list[_Compared]:
    """For each network its estimate, and the reference's and their difference where there is a reference.

    `samples` (networks, resamples), of shared resamples.
    """
    if reference is None:
        return [(estimate, None, None) for estimate in estimates]
    differences = []
    for place, estimate in enumerate(estimates):
        value = estimate.value - estimates[reference].value
        apart = None if samples is None else difference_interval(value, samples[place] - samples[reference])
        differences.append(Estimate(value=value) if apart is None else estimate_of(value, apart))
    return [
        (estimate, estimates[reference], difference)
        for estimate, difference in zip(estimates, differences, strict=True)
    ]


def estimate_of(value: float, interval: Interval) -> Estimate:
    """Without an interval where that is NaN, undefined."""
    return (
        Estimate(value=value) if math.isnan(interval[0]) else Estimate(value=value, low=interval[0], high=interval[1])
    )
