"""The threshold of one network at which it accepts as many impostors as another does at its own: quantile matching."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.thresholds import QUANTILE, SHIFTED
from efq.runtime.errors import UsageError
from efq.toolchain.evaluation.figures.far import AllPairs
from efq.toolchain.evaluation.figures.intervals import recentred_interval
from efq.toolchain.evaluation.figures.limits import ENOUGH_ERRORS, enough_errors

HIGHEST_FMR = 1e-2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Matched:
    """A `threshold` with its interval; `method` as in `efq.runtime.certificate.thresholds`.

    false_matches: impostor pairs that the first network accepts at its own.
    """

    threshold: float
    low: float | None
    high: float | None
    method: str
    false_matches: int


def match_threshold(
    reference: AllPairs, other: AllPairs, threshold: float, draws: NDArray[np.int64], *, confidence: float = 0.95
) -> Matched:
    """The threshold of `other` whose FMR is that of `reference` at `threshold`, on the same images.

    Impostor similarities of both are matched rank by rank, between two of them linearly, so that a network is matched
    with itself at the threshold itself. Where fewer impostor pairs than the rule of 30 asks for are above `threshold`,
    their ranks say little: it is moved by as much as the two networks lie apart where there are so many.

    draws: (R, I) resamples of the people, for the interval.
    Raises UsageError for a threshold at which `reference` accepts more than one of a hundred impostor pairs.
    """
    accepted = int(np.searchsorted(-reference.impostor, -np.float32(threshold), side="left"))
    if accepted > HIGHEST_FMR * reference.impostor_pairs or threshold < reference.impostor[-1]:
        message = (
            f"expected a deployed threshold that refuses impostors, a cosine with a false match rate of at most "
            f"{HIGHEST_FMR}, found {threshold:g}, above which the teacher accepts {accepted:,} of "
            f"{reference.impostor_pairs:,} impostor pairs; of a Euclidean distance d between embeddings of unit length "
            "the cosine is 1 - d * d / 2"
        )
        raise UsageError(message)
    enough = enough_errors(accepted)
    rank = _rank(reference.impostor, threshold) if enough else min(ENOUGH_ERRORS, len(reference.impostor) - 1)
    share = rank / reference.impostor_pairs
    shift = _at_share(other, share) - _at_share(reference, share)
    moved = threshold + shift
    drawn = np.array([_drawn(other, draw, share) - _drawn(reference, draw, share) for draw in draws])
    low, high = recentred_interval(moved, drawn, confidence)
    return Matched(
        threshold=float(np.clip(moved, -1.0, 1.0)),
        low=None if np.isnan(low) else max(low, -1.0),
        high=None if np.isnan(high) else min(high, 1.0),
        method=QUANTILE if enough else SHIFTED,
        false_matches=accepted,
    )


def _rank(impostor: NDArray[np.float32], threshold: float) -> float:
    """Where `threshold` stands among the (K,) similarities, highest first: 1.5 between the second and the third."""
    return float(np.interp(-threshold, -impostor.astype(np.float64), np.arange(len(impostor))))


def _at_share(pairs: AllPairs, share: float) -> float:
    """The similarity at the rank that is this share of all impostor pairs."""
    return float(np.interp(share * pairs.impostor_pairs, np.arange(len(pairs.impostor)), pairs.impostor))


def _drawn(pairs: AllPairs, draw: NDArray[np.int64], share: float) -> float:
    """The same with the people counted `draw` (I,) times; NaN where a resample has no impostor pairs."""
    allowed = share * pairs.impostors_of(draw)
    count = min(len(pairs.impostor), int(4 * share * pairs.impostor_pairs) + 1000)
    ends = pairs.impostor_identities[:count]
    above = np.cumsum(draw[ends[:, 0]] * draw[ends[:, 1]])
    return float(pairs.impostor[min(int(np.searchsorted(above, allowed, side="right")), count - 1)])
