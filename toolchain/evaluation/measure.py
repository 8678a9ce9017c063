"""Measuring one network, or one against a reference, on the same embeddings of faces."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.toolchain.evaluation.bootstrap import (
    DEFAULT_RESAMPLES,
    bootstrap_fold_accuracy,
    bootstrap_tar,
    percentile_interval,
)
from efq.toolchain.evaluation.far import all_pairs, equal_decisions, tar_at_far
from efq.toolchain.evaluation.report import Agreement, AllPairsResult, Estimate, FarResult, FoldResult
from efq.toolchain.evaluation.verification import fold_accuracy, pair_similarities

DEFAULT_FARS = (1e-3, 1e-4, 1e-5)
DECISION_FAR = 1e-4

Embeddings = NDArray[np.float32]


def measure_all_pairs(
    model: Embeddings,
    labels: NDArray[np.int64],
    *,
    reference: Embeddings | None = None,
    fars: Sequence[float] = DEFAULT_FARS,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> AllPairsResult:
    """TAR@FAR over all pairs of images, with bootstrap intervals and, given a `reference`, the difference to it.

    `model` (N, d), `reference` (N, e): unit-length embeddings of the same images; `labels` (N,). `resamples` 0 leaves
    the intervals out. Raises InputError when there is no genuine or no impostor pair.
    """
    networks = [all_pairs(values, labels, highest_far=max(fars)) for values in _present(model, reference)]
    samples = bootstrap_tar(networks, fars, resamples=resamples, seed=seed) if resamples else None
    rows = []
    for place, far in enumerate(fars):
        found = [tar_at_far(pairs, far) for pairs in networks]
        tars, difference = _estimates([point.tar for point in found], None if samples is None else samples[:, :, place])
        rows.append(
            FarResult(
                far=far,
                enough_impostors=found[0].enough_impostors,
                threshold=found[0].threshold,
                tar=tars[0],
                reference_threshold=found[1].threshold if reference is not None else None,
                reference_tar=tars[1] if reference is not None else None,
                difference=difference,
            )
        )
    return AllPairsResult(
        images=len(labels),
        identities=len(networks[0].identity_sizes),
        genuine_pairs=len(networks[0].genuine),
        impostor_pairs=networks[0].impostor_pairs,
        rows=tuple(rows),
    )


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

    Raises InputError for fewer than two folds.
    """
    similarities = [pair_similarities(values, first, second) for values in _present(model, reference)]
    found = [fold_accuracy(values, same, folds) for values in similarities]
    samples = bootstrap_fold_accuracy(similarities, same, folds, resamples=resamples, seed=seed) if resamples else None
    accuracies, difference = _estimates([result.accuracy for result in found], samples)
    return FoldResult(
        name=name,
        pairs=len(same),
        skipped_pairs=skipped_pairs,
        accuracy=accuracies[0],
        standard_deviation=found[0].standard_deviation,
        fold_accuracies=found[0].folds,
        reference_accuracy=accuracies[1] if reference is not None else None,
        difference=difference,
    )


def measure_agreement(model: Embeddings, reference: Embeddings, pairs: AllPairsResult | None = None) -> Agreement:
    """How alike two networks embed and decide; `pairs`, of the same images, gives their thresholds at a FAR of 1e-4."""
    row = next((row for row in pairs.rows if row.far == DECISION_FAR), None) if pairs else None
    equal = None
    if row is not None and row.reference_threshold is not None:
        equal = equal_decisions(model, row.threshold, reference, row.reference_threshold)
    if model.shape != reference.shape:
        return Agreement(cosine_mean=None, cosine_p1=None, cosine_min=None, far=DECISION_FAR, equal_decisions=equal)
    cosines = np.einsum("ij,ij->i", model.astype(np.float64), reference.astype(np.float64))
    return Agreement(
        cosine_mean=float(cosines.mean()),
        cosine_p1=float(np.quantile(cosines, 0.01)),
        cosine_min=float(cosines.min()),
        far=DECISION_FAR,
        equal_decisions=equal,
    )


def _present(model: Embeddings, reference: Embeddings | None) -> list[Embeddings]:
    return [model] if reference is None else [model, reference]


def _estimates(values: Sequence[float], samples: NDArray[np.float64] | None) -> tuple[list[Estimate], Estimate | None]:
    """The estimate of each network (`samples` (networks, resamples)), and of first - second where there are two."""
    drawn = [None] * len(values) if samples is None else list(samples)
    estimates = [_estimate(value, draws) for value, draws in zip(values, drawn, strict=True)]
    if len(values) < 2:
        return estimates, None
    return estimates, _estimate(values[0] - values[1], None if samples is None else samples[0] - samples[1])


def _estimate(value: float, samples: NDArray[np.float64] | None) -> Estimate:
    if samples is None:
        return Estimate(value=value)
    low, high = percentile_interval(samples)
    return Estimate(value=value) if math.isnan(low) else Estimate(value=value, low=low, high=high)
