"""The variance of FMR and FNMR at a threshold, as people vary: analytic, of a ratio of sums over people.

Fogliato, Patil and Perona (arXiv 2306.01198, section 3.2): of the errors e and trials m of each person, or of each two
people, r = e - rate * m is what they add to the rate, and the variance is that of the sum of r over the sum of m. As
the rate was pulled towards each person by their own share h of all trials, r is divided by 1 - h (the jackknife).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.intervals import UncertainRate

_LEAST_REST = 0.1  # of all trials, without those of one person


def rate_by_people(errors: NDArray[np.integer], trials: NDArray[np.integer]) -> UncertainRate:
    """Of `errors` (I,) in `trials` (I,) by people of whom no trial has two: the errors of all over the trials of all.

    People without trials are left out. With 0 or all errors a person counts as one trial.
    """
    took_part = trials > 0
    people, total = int(took_part.sum()), int(trials.sum())
    rate = float(errors.sum() / total)
    residuals = errors[took_part] - rate * trials[took_part]
    residuals = residuals / np.maximum(1.0 - trials[took_part] / total, _LEAST_REST)
    variance = float((residuals**2).sum() / total**2)
    degrees = degrees_of_freedom(residuals, trials[took_part])
    return UncertainRate(rate=rate, variance=variance, degrees=degrees, people=people, trials=people)


def fnmr_by_people(pairs: AllPairs, threshold: float) -> UncertainRate:
    """FNMR at a threshold: genuine pairs are of one person each."""
    people = len(pairs.identity_sizes)
    missed = pairs.genuine_identity[: np.searchsorted(pairs.genuine, np.float32(threshold), side="right")]
    trials = np.bincount(pairs.genuine_identity, minlength=people)
    return rate_by_people(np.bincount(missed, minlength=people), trials)


def fmr_by_people(pairs: AllPairs, threshold: float) -> UncertainRate:
    """FMR at a threshold: impostor pairs of two people each. Without a false match pairs count as independent.

    The variance of the sum over couples is that of couples that share a person, the sum over people of their squared
    sums R, less the square of each couple, which that counts twice. Raises UsageError for a threshold below which pairs
    were not kept.
    """
    matches = pairs.impostor_identities[: false_matches(pairs, threshold)].astype(np.int64)
    sizes, total = pairs.identity_sizes.astype(np.float64), pairs.impostor_pairs
    people, rate = len(sizes), len(matches) / total
    images, scale = sizes.sum(), total / ((sizes.sum() ** 2 - (sizes**2).sum()) / 2.0)  # 2 of ordered pairs
    of_person = scale * sizes * (images - sizes)
    raw = np.bincount(matches.ravel(), minlength=people) - rate * of_person
    residuals = raw / np.maximum(1.0 - of_person / total, _LEAST_REST)
    couples, counts = np.unique(matches.min(axis=1) * people + matches.max(axis=1), return_counts=True)
    trials = scale * sizes[couples // people] * sizes[couples % people]
    squares_of_trials = scale**2 * ((sizes**2).sum() ** 2 - (sizes**4).sum()) / 2.0
    squares = (
        (counts.astype(np.float64) ** 2).sum() - 2.0 * rate * (counts * trials).sum() + rate**2 * squares_of_trials
    )
    sums = float((raw**2).sum())
    widened = float((residuals**2).sum()) / sums if sums > 0.0 else 1.0
    variance = max((sums - float(squares)) * widened, float(squares)) / total**2
    degrees = degrees_of_freedom(residuals, of_person)
    return UncertainRate(rate=rate, variance=variance, degrees=degrees, people=people, trials=total)


def false_matches(pairs: AllPairs, threshold: float) -> int:
    """How many impostor pairs are above a threshold. Raises UsageError for one below which pairs were not kept."""
    count = int(np.searchsorted(-pairs.impostor, -np.float32(threshold), side="left"))
    if count == len(pairs.impostor) < pairs.impostor_pairs:
        message = f"expected a threshold of at least {pairs.impostor[-1]:.6f}, above which all pairs are kept, found "
        raise UsageError(message + f"{threshold}; keep more with highest_far")
    return count


def degrees_of_freedom(residuals: NDArray[np.floating], trials: NDArray[np.number]) -> float:
    """Of a variance that is the sum of the squares of `residuals` (I,) of so many `trials` (I,) each.

    Twice its square over its own variance (Satterthwaite, 1946): as the residuals have it, or, where that is less, as
    residuals that are as large as their trials are many would. One person with half of the pairs leaves few.
    """
    squares, weights = np.asarray(residuals, np.float64) ** 2, np.asarray(trials, np.float64) ** 2
    spread = float((squares**2).sum() - squares.sum() ** 2 / len(squares))
    seen = float(2.0 * squares.sum() ** 2 / spread) if spread > 0.0 else float(len(squares))
    return min(seen, float(weights.sum() ** 2 / (weights**2).sum()))
