"""Bootstrap of TAR@FAR and fold accuracy (Efron, 1979), for one network or for several on the same resamples.

All-pairs figures are resampled by identity, as pairs that share a person are not independent: an identity drawn w
times counts its genuine pairs w times, and impostor pairs of identities i and j count w_i * w_j times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.far import AllPairs, TarAtFar, tar_at_far
from efq.toolchain.evaluation.figures.intervals import Interval
from efq.toolchain.evaluation.figures.variance import false_matches, fmr_by_people, fnmr_by_people
from efq.toolchain.evaluation.figures.verification import fold_accuracy

DEFAULT_RESAMPLES = 200

_LEAST_RATIO = 0.05  # of false matches in a resample that drew none of their people


def percentile_interval(samples: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """The interval that holds the middle `confidence` of the samples; NaN samples (undefined resamples) are left out.

    (NaN, NaN) when nothing is left.
    """
    defined = samples[~np.isnan(samples)]
    if not len(defined):
        return float("nan"), float("nan")
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(defined, [tail, 1.0 - tail])
    return float(low), float(high)


def draw_people(people: int, resamples: int, seed: int = 0) -> NDArray[np.int64]:
    """How often each of `people` people is drawn in each resample, (resamples, people)."""
    return np.random.default_rng(seed).multinomial(people, np.full(people, 1.0 / people), size=resamples)


def tar_interval(pairs: AllPairs, point: TarAtFar, samples: NDArray[np.float64]) -> Interval:
    """The 95 % interval of TAR at a FAR by the variance of its `samples` (R,), one network's of `bootstrap_tar`."""
    low, high = fnmr_by_people(pairs, point.threshold).resampled(samples).interval()
    return 1.0 - high, 1.0 - low


def bootstrap_tar(
    networks: Sequence[AllPairs], fars: Sequence[float], *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> NDArray[np.float64]:
    """TAR of each network at each FAR in each resample of the identities: (networks, resamples, fars).

    All `networks` compared the same images; they share the resamples, so that samples may be subtracted (a paired
    bootstrap). NaN where a resample has no genuine or no impostor pair. Exact: no histogram, no subset of the pairs.
    """
    sizes = networks[0].identity_sizes
    if any(not np.array_equal(pairs.identity_sizes, sizes) for pairs in networks):
        message = "expected networks that were compared on the same images, found other identities or counts"
        raise InputError(message)
    draws = draw_people(len(sizes), resamples, seed)
    return np.stack([_resampled_tar(pairs, draws, fars) for pairs in networks])


def _resampled_tar(pairs: AllPairs, draws: NDArray[np.int64], fars: Sequence[float]) -> NDArray[np.float64]:
    """TAR at the threshold that each resample sets, (resamples, fars)."""
    impostors = pairs.impostors_of(draws)
    thresholds = np.stack([_resampled_thresholds(pairs, draws, impostors, far) for far in fars], axis=1)
    rejected = np.searchsorted(pairs.genuine, thresholds, side="right")
    tars = np.full(thresholds.shape, np.nan)
    for draw, row, places, count in zip(draws, tars, rejected, impostors, strict=True):
        genuine = np.concatenate([[0], np.cumsum(draw[pairs.genuine_identity])])
        if genuine[-1] and count:
            row[:] = 1.0 - genuine[places] / genuine[-1]
    return tars


def _resampled_thresholds(
    pairs: AllPairs, draws: NDArray[np.int64], impostors: NDArray[np.int64], far: float
) -> NDArray[np.float32]:
    """The threshold of each resample, (resamples,), of which the impostor pairs are `impostors` (resamples,).

    One that counts the false matches at the threshold of all people x times has its own where those are 1 / x of what
    is allowed (Bahadur, 1966). A product of two weights varies more than couples of people do: ln x is scaled by the
    analytic standard error over the resamples' own.
    """
    point = tar_at_far(pairs, far)
    matches = pairs.impostor_identities[: false_matches(pairs, point.threshold)]
    weights = np.array([draw[matches[:, 0]] @ draw[matches[:, 1]] for draw in draws], np.float64)
    expected = len(matches) / pairs.impostor_pairs * impostors
    ratio = np.divide(weights, expected, out=np.ones_like(weights), where=expected > 0.0)
    own = float(np.var(ratio)) * (len(matches) / pairs.impostor_pairs) ** 2
    scale = min(1.0, math.sqrt(fmr_by_people(pairs, point.threshold).variance / own)) if own > 0.0 else 0.0
    allowed = far * pairs.impostor_pairs * np.maximum(ratio, _LEAST_RATIO) ** -scale
    places = np.minimum((allowed + 1e-9).astype(np.int64), len(pairs.impostor) - 1)
    return np.asarray(pairs.impostor[places], np.float32)


def bootstrap_fold_accuracy(
    networks: Sequence[NDArray[np.float64]],
    same: NDArray[np.bool_],
    folds: NDArray[np.int64],
    *,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Fold accuracy of each network in each resample of the pairs: (networks, resamples).

    `networks`: similarities (P,) of the same pairs by each network; they share the resamples.
    """
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(same), np.full(len(same), 1.0 / len(same)), size=resamples)
    return np.array([[fold_accuracy(scores, same, folds, draw).accuracy for draw in draws] for scores in networks])
