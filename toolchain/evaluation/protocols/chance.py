"""What networks that know nothing reach on the same pairs, random unit vectors among them."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation.figures.separation import auc
from efq.toolchain.evaluation.report import AllPairsResult, FoldResult

_ERRORS = 3.0  # standard errors above chance that a figure has to be
_UNBALANCED = 0.75  # share of the more frequent kind, at which an accuracy of chance is high already

_logger = logging.getLogger(__name__)


def chance_accuracy(same: NDArray[np.bool_], folds: NDArray[np.int64]) -> float:
    """The fold accuracy of a network that knows nothing: the answer most pairs (P,) of the other folds have."""
    accuracies = []
    for fold in np.unique(folds):
        inside = folds == fold
        genuine = same[inside].mean()
        accuracies.append(genuine if same[~inside].mean() >= 0.5 else 1.0 - genuine)
    return float(np.mean(accuracies))


def check_balance(results: Sequence[FoldResult]) -> None:
    """Raise InputError where no network does better than chance on pairs that are mostly of one kind.

    `results` of several networks on the same pairs. On as many pairs of either kind an accuracy of 50 % is seen to be
    chance; where 99 % are genuine, random unit vectors have 99 %.
    """
    if not results or results[0].chance < _UNBALANCED or any(map(_above_chance, results)):
        return
    best = max(results, key=lambda result: result.accuracy.value)
    message = (
        f"expected pairs in {best.name} that tell networks apart, found that one that knows nothing is right on "
        f"{100 * best.chance:.2f} % of them, and the best of these on {100 * best.accuracy.value:.2f} %: give as many "
        "genuine pairs as impostor ones, or compare all pairs (--faces without --pairs)"
    )
    raise InputError(message)


def check_sides(name: str, similarities: Sequence[NDArray[np.floating]], same: NDArray[np.bool_]) -> None:
    """Raise InputError where to every network the impostor pairs of `name` are more alike than the genuine ones.

    `similarities` (P,) of each network, `same` (P,). By the area under the ROC curve, to three standard errors of that
    of equal distributions (Mann and Whitney, 1947).
    """
    genuine, impostor = int(same.sum()), int((~same).sum())
    highest = max(auc(values[same], values[~same]) for values in similarities)
    if highest < 0.5 - _ERRORS * math.sqrt((genuine + impostor + 1) / (12 * genuine * impostor)):
        message = (
            f"expected genuine pairs in {name} that are more alike than its impostor pairs, found them less alike in "
            f"{100 * (1 - highest):.1f} % of comparisons: its labels seem to be exchanged (1: one person, 0: two)"
        )
        raise InputError(message)


def warn_of_chance(network: str, all_pairs: AllPairsResult | None, folds: Sequence[FoldResult]) -> None:
    """A warning where the figures of `network` are those of random unit vectors, to three standard errors.

    Of all pairs random vectors have a TAR equal to the FAR; the highest that is reached is looked at.
    """
    low = [f"{result.name} ({100 * result.accuracy.value:.2f} %)" for result in folds if not _above_chance(result)]
    reached = [] if all_pairs is None else [row for row in all_pairs.rows if row.enough_impostors]
    if all_pairs is not None and reached:
        row = max(reached, key=lambda row: row.far)
        if row.tar.value <= row.far + _ERRORS * _error(row.far, all_pairs.genuine_pairs):
            low.append(f"all pairs (TAR {100 * row.tar.value:.2f} % at a FAR of {100 * row.far:g} %)")
    if low:
        _logger.warning("%s does no better than random vectors on %s: its figures say nothing", network, ", ".join(low))


def _above_chance(result: FoldResult) -> bool:
    return result.accuracy.value > result.chance + _ERRORS * _error(result.chance, result.pairs)


def _error(share: float, count: int) -> float:
    """Standard error of a share of `count` independent pairs."""
    return math.sqrt(share * (1 - share) / count)
