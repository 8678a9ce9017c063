"""False match rate and false non-match rate (ISO/IEC 19795-1), exact at a threshold; over all, see `ScoreHistogram`.

FMR is the share of impostor pairs that are accepted, FNMR the share of genuine pairs that are not. A pair is accepted
when its cosine similarity is above the threshold, as in `far`, where FMR is called FAR and 1 - FNMR TAR.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.figures.far import AllPairs, tar_at_far
from efq.toolchain.evaluation.figures.histogram import DetCurve, ScoreHistogram, histogram_of_scores, score_histogram
from efq.toolchain.evaluation.figures.limits import enough_errors

__all__ = [
    "DetCurve",
    "ErrorRates",
    "ScoreHistogram",
    "generalized_fnmr",
    "histogram_of_scores",
    "rates_at_fmr",
    "rates_at_threshold",
    "score_histogram",
]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ErrorRates:
    """FMR and FNMR at a threshold. `enough_impostors`: whether the FMR is of at least 30 false matches (`limits`)."""

    fmr: float
    fnmr: float
    threshold: float
    enough_impostors: bool


def rates_at_threshold(
    genuine: NDArray[np.floating],
    impostor: NDArray[np.floating],
    threshold: float,
    *,
    impostor_pairs: int | None = None,
) -> ErrorRates:
    """FMR and FNMR of the similarities of genuine (G,) and impostor (K,) pairs, in any order, at a threshold.

    impostor_pairs: how many there are, where `impostor` are only the most alike of them, as in `AllPairs`. Raises
    InputError without genuine or impostor pairs, UsageError where pairs above the threshold may not be among them.
    """
    total = len(impostor) if impostor_pairs is None else impostor_pairs
    if not len(genuine) or not len(impostor):
        message = f"expected genuine and impostor pairs, found {len(genuine)} and {len(impostor)}"
        raise InputError(message)
    if total > len(impostor) and threshold < impostor.min():
        message = f"expected a threshold of at least {impostor.min():.6f}, above which all pairs are kept, found "
        raise UsageError(message + f"{threshold}; keep more with highest_far")
    false_matches = int((impostor > threshold).sum())
    return ErrorRates(
        fmr=false_matches / total,
        fnmr=float((genuine <= threshold).mean()),
        threshold=threshold,
        enough_impostors=enough_errors(false_matches),
    )


def rates_at_fmr(pairs: AllPairs, fmr: float) -> ErrorRates:
    """FNMR at the lowest threshold, of the impostors' similarities, of which the FMR is not above `fmr`: FNMR@FMR.

    The rates are those at that threshold: `fmr` may be less than was asked for. Raises UsageError as `tar_at_far`.
    """
    point = tar_at_far(pairs, fmr)
    accepted = int(np.searchsorted(-pairs.impostor, -np.float32(point.threshold), side="left"))
    return ErrorRates(
        fmr=accepted / pairs.impostor_pairs,
        fnmr=1.0 - point.tar,
        threshold=point.threshold,
        enough_impostors=point.enough_impostors,
    )


def generalized_fnmr(fnmr: float, failure_to_enrol: float) -> float:
    """The share of genuine attempts that fail, as an image cannot be embedded or the two do not match.

    FTE + (1 - FTE) FTA + (1 - FTE) (1 - FTA) FNMR, the generalized false reject rate of ISO/IEC 19795-1, where an image
    is as likely to fail when it is enrolled (FTE) as when it is a probe (FTA): at the rate `failure_to_enrol`.
    """
    usable = (1.0 - failure_to_enrol) ** 2
    return 1.0 - usable + usable * fnmr
