"""Bootstrap intervals of TAR@FAR and fold accuracy (Efron, 1979), for one network or for several on the same resamples.

All-pairs figures are resampled by identity, as pairs that share a person are not independent: an identity drawn w
times counts its genuine pairs w times, and impostor pairs of identities i and j count w_i * w_j times.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.verification import fold_accuracy

DEFAULT_RESAMPLES = 200


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
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(len(sizes), np.full(len(sizes), 1.0 / len(sizes)), size=resamples)
    return np.stack([[_weighted_tar(pairs, draw, fars) for draw in draws] for pairs in networks])


def _weighted_tar(pairs: AllPairs, weights: NDArray[np.int64], fars: Sequence[float]) -> NDArray[np.float64]:
    """TAR at each FAR with identities counted `weights` (I,) times, (fars,)."""
    impostor_weight = pairs.impostors_of(weights)
    genuine_weight = np.concatenate([[0], np.cumsum(weights[pairs.genuine_identity])])
    if impostor_weight == 0 or genuine_weight[-1] == 0:
        return np.full(len(fars), np.nan)
    allowed = np.array(fars) * impostor_weight + 1e-9
    needed = int(2 * max(fars) * pairs.impostor_pairs) + 1000
    above = _weight_above(pairs, weights, needed)
    if above[-1] <= allowed.max():
        above = _weight_above(pairs, weights, len(pairs.impostor))
    if above[-1] <= allowed.max() and len(pairs.impostor) < pairs.impostor_pairs:
        message = f"expected enough impostor pairs for a FAR of {max(fars)}, found too few kept; raise highest_far"
        raise InputError(message)
    places = np.minimum(np.searchsorted(above, allowed, side="right") - 1, len(above) - 2)
    rejected = np.searchsorted(pairs.genuine, pairs.impostor[places], side="right")
    return np.asarray(1.0 - genuine_weight[rejected] / genuine_weight[-1], dtype=np.float64)


def _weight_above(pairs: AllPairs, weights: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Weight of the impostor pairs before each of the hardest `count`, and of all of them, (count + 1,)."""
    identities = pairs.impostor_identities[:count]
    return np.concatenate([[0], np.cumsum(weights[identities[:, 0]] * weights[identities[:, 1]])])


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
