"""Linear maps from one model's embeddings to another's, fitted on faces that both embedded.

Orthogonal (Procrustes; Schoenemann, 1966, https://doi.org/10.1007/BF02289451): a rotation, and for other sizes of
embeddings directions left out or kept orthogonal. Ridge regression (Hoerl and Kennard, 1970): any matrix, its strength
found by cross-validation over people. Both with the two models' mean embeddings taken out before and added after.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

ORTHOGONAL, RIDGE = "orthogonal", "ridge"
KINDS = (ORTHOGONAL, RIDGE)
FOLDS = 5
STRENGTHS = tuple(float(strength) for strength in np.geomspace(1e-5, 1.0, 11))
"""Of ridge regression, as parts of the mean variance of the old embeddings' values."""

_TINY = 1e-12


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LinearMap:
    """(x - old_mean) @ matrix + new_mean: matrix (d, e), means (d,) and (e,), float64. strength: of ridge, else 0."""

    kind: str
    strength: float
    matrix: NDArray[np.float64]
    old_mean: NDArray[np.float64]
    new_mean: NDArray[np.float64]

    def apply(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, d) unit rows of the old model to (N, e) unit rows in the new one's space."""
        mapped = self._mapped(embeddings)
        return np.asarray(mapped / np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), _TINY), np.float32)

    def lengths(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) lengths before they became 1: of a ridge map about the cosine to expect, as what it cannot tell is 0."""
        return np.asarray(np.linalg.norm(self._mapped(embeddings), axis=1))

    def _mapped(self, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
        return (embeddings.astype(np.float64) - self.old_mean) @ self.matrix + self.new_mean


def fit_orthogonal(old: NDArray[np.float32], new: NDArray[np.float32]) -> LinearMap:
    """The orthogonal map of `old` (N, d) nearest to `new` (N, e), in squares. Raises InputError as `fit_map`."""
    first, second, old_mean, new_mean = _centred(old, new)
    left, _, right = np.linalg.svd(first.T @ second, full_matrices=False)
    return LinearMap(kind=ORTHOGONAL, strength=0.0, matrix=left @ right, old_mean=old_mean, new_mean=new_mean)


def fit_ridge(
    old: NDArray[np.float32], new: NDArray[np.float32], strengths: Sequence[float] = STRENGTHS
) -> list[LinearMap]:
    """Ridge regressions of `new` (N, e) on `old` (N, d), one of each strength. Raises InputError as `fit_map`."""
    first, second, old_mean, new_mean = _centred(old, new)
    squares, products = first.T @ first, first.T @ second
    unit = np.eye(len(squares)) * np.trace(squares) / len(squares)
    return [
        LinearMap(
            kind=RIDGE,
            strength=strength,
            matrix=np.linalg.solve(squares + strength * unit, products),
            old_mean=old_mean,
            new_mean=new_mean,
        )
        for strength in strengths
    ]


def fit_map(kind: str, old: NDArray[np.float32], new: NDArray[np.float32], people: NDArray[np.int64]) -> LinearMap:
    """A map of one of `KINDS` of the same N faces; of `people` (N,) the strength is chosen on other ones than fitted.

    Raises InputError for arrays that are not of the same faces, or faces of fewer people than there are folds.
    """
    if len(old) != len(new) or len(old) != len(people):
        message = f"expected the same faces by both models, found {len(old)} and {len(new)} of {len(people)}"
        raise InputError(message)
    if kind == ORTHOGONAL:
        return fit_orthogonal(old, new)
    folds = fold_rows(people)
    means = np.mean([_held_out(old, new, *fold) for fold in folds], axis=0)
    return fit_ridge(old, new, [STRENGTHS[int(np.argmax(means))]])[0]


def fold_rows(
    people: NDArray[np.int64], folds: int = FOLDS, *, seed: int = 0
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and rows to test on, `folds` times: nobody is in both, and everybody is tested once.

    Raises InputError for fewer people than folds.
    """
    codes = np.unique(people, return_inverse=True)[1]
    count = int(codes.max()) + 1
    if count < folds:
        message = (
            f"expected faces of {folds} people or more to test a map on others than it was fitted on, found {count}"
        )
        raise InputError(message)
    fold_of = np.random.default_rng(seed).permutation(count) % folds
    for fold in range(folds):
        held = fold_of[codes] == fold
        yield np.flatnonzero(~held), np.flatnonzero(held)


def out_of_fold(
    kind: str, old: NDArray[np.float32], new: NDArray[np.float32], people: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(N, e) unit rows: every old embedding mapped by what was fitted on other people."""
    mapped = np.empty(new.shape, np.float32)
    for fitted, held in fold_rows(people):
        mapped[held] = fit_map(kind, old[fitted], new[fitted], people[fitted]).apply(old[held])
    return mapped


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N,) row by row, in float64."""
    return np.asarray(np.einsum("nd,nd->n", one.astype(np.float64), other.astype(np.float64)))


def _held_out(
    old: NDArray[np.float32], new: NDArray[np.float32], fitted: NDArray[np.int64], held: NDArray[np.int64]
) -> list[float]:
    """The mean cosine to the new embeddings on other faces than it was fitted on, of each strength."""
    maps = fit_ridge(old[fitted], new[fitted])
    return [float(cosines(one.apply(old[held]), new[held]).mean()) for one in maps]


def _centred(old: NDArray[np.float32], new: NDArray[np.float32]) -> Sequence[NDArray[np.float64]]:
    if len(old) < 2:
        message = f"expected two faces or more to fit a map on, found {len(old)}"
        raise InputError(message)
    first, second = old.astype(np.float64), new.astype(np.float64)
    old_mean, new_mean = first.mean(axis=0), second.mean(axis=0)
    first, second = first - old_mean, second - new_mean
    for which, rows in (("old", first), ("new", second)):
        if np.abs(rows).max() < _TINY:
            message = f"expected different faces to have different embeddings, found all alike by the {which} model"
            raise InputError(message)
    return first, second, old_mean, new_mean
