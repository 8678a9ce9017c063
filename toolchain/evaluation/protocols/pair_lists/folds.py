"""Folds of lists that do not say them, or say them of one class alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.toolchain.evaluation.figures.rates import FOLDS

BY_CLASS = "ten folds by class, in the order of the list, as it names none"


def contiguous_folds(count: int) -> NDArray[np.int64]:
    """The fold of each of `count` pairs: ten parts in order, the first ones larger by one, as scikit-learn's KFold."""
    return _parts(count, np.arange(min(FOLDS, max(count, 1))))


def folds_by_class(same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The fold of each of the pairs `same` (P,): those of each class are cut into ten parts in order.

    Into fewer where there are fewer of a class.
    """
    fewest = int(min(same.sum(), len(same) - same.sum()))
    names = np.arange(min(FOLDS, max(fewest, 1)))
    folds = np.empty(len(same), np.int64)
    for one in (True, False):
        folds[same == one] = _parts(int((same == one).sum()), names)
    return folds


def fill_folds(same: NDArray[np.bool_], folds: Sequence[int | None]) -> NDArray[np.int64]:
    """`folds` where all are known; by class where none is; else what is not known is cut in order into those known."""
    known = np.array([fold is not None for fold in folds], np.bool_)
    if not known.any():
        return folds_by_class(same)
    found = np.array([-1 if fold is None else fold for fold in folds], np.int64)
    found[~known] = _parts(int((~known).sum()), np.unique(found[known]))
    return found


def one_class_alone(same: NDArray[np.bool_], folds: NDArray[np.int64]) -> bool:
    """Whether a fold holds genuine or impostor pairs only, though there are both."""
    shares = [same[folds == fold].mean() for fold in np.unique(folds)]
    return 0 < same.mean() < 1 and any(share in (0.0, 1.0) for share in shares)


def _parts(count: int, names: NDArray[np.int64]) -> NDArray[np.int64]:
    sizes = [len(part) for part in np.array_split(np.arange(count), len(names))]
    return np.repeat(names, sizes)
