"""k-fold verification accuracy, the protocol of Labeled Faces in the Wild (Huang et al., 2007)."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

FloatArray = NDArray[np.floating]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FoldAccuracy:
    """Accuracy on each fold with the threshold that is best on the others; their mean and standard deviation."""

    accuracy: float
    standard_deviation: float
    folds: tuple[float, ...]
    thresholds: tuple[float, ...]


def pair_similarities(
    embeddings: FloatArray, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Cosine similarities (P,) of the pairs (first[i], second[i]) of unit-length `embeddings` (N, d)."""
    left, right = embeddings[first].astype(np.float64), embeddings[second].astype(np.float64)
    return np.asarray(np.einsum("ij,ij->i", left, right), dtype=np.float64)


def best_threshold(
    similarities: FloatArray, same: NDArray[np.bool_], weights: NDArray[np.int64] | None = None
) -> float:
    """The threshold with the highest accuracy, where a pair is taken as genuine when its similarity is at or above it.

    Exact: every similarity is tried, not a grid; of several that are equally good it is the lowest. `weights` (P,)
    counts each pair so many times.
    """
    if weights is not None:
        similarities, same, weights = similarities[weights > 0], same[weights > 0], weights[weights > 0]
    order = np.argsort(-similarities, kind="stable")
    ordered = similarities[order].astype(np.float64)
    gain = np.where(same[order], 1, -1) * (1 if weights is None else weights[order])
    correct = np.cumsum(gain)
    last_of_equals = np.append(ordered[:-1] > ordered[1:], True)
    correct[~last_of_equals] = np.iinfo(np.int64).min
    if correct.max() < 0:
        return float(np.nextafter(ordered[0], np.inf))
    return float(ordered[np.flatnonzero(correct == correct.max())[-1]])


def fold_accuracy(
    similarities: FloatArray,
    same: NDArray[np.bool_],
    folds: NDArray[np.int64],
    weights: NDArray[np.int64] | None = None,
) -> FoldAccuracy:
    """Accuracy of each fold (P pairs, `similarities`, `same` and `folds` (P,)), each with the others' best threshold.

    `weights` (P,) counts each pair so many times; folds it leaves empty are left out. Raises InputError for fewer than
    two folds.
    """
    counts = np.ones(len(similarities), np.int64) if weights is None else weights
    names = np.unique(folds[counts > 0])
    if len(names) < 2:
        message = f"expected pairs in at least two folds, found {len(names)}"
        raise InputError(message)
    accuracies, thresholds = [], []
    for name in names:
        held_out = folds == name
        threshold = best_threshold(
            similarities[~held_out], same[~held_out], None if weights is None else counts[~held_out]
        )
        correct = (similarities[held_out] >= threshold) == same[held_out]
        accuracies.append(float(np.average(correct, weights=counts[held_out])))
        thresholds.append(threshold)
    return FoldAccuracy(
        accuracy=float(np.mean(accuracies)),
        standard_deviation=float(np.std(accuracies)),
        folds=tuple(accuracies),
        thresholds=tuple(thresholds),
    )
