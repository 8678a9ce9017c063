"""One scale for the cosines of different models: how rarely a stranger is as alike.

A cosine becomes -log10 of the share of impostor pairs above it (FMR), so that 4 means the same of every model: one
stranger in 10,000 is as alike. Between measured points it is interpolated, beyond them continued as a line: that is
good for ranks, and no measurement of rates.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, SchemaError

LEAST_PAIRS = 1000
"""Impostor pairs to make a scale of."""

_DECIDED = 10  # impostor pairs above the last measured point
_POINTS = 48
_STEP = 1e-6  # between cosines, so that a scale is strictly ascending


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreScale:
    """Ascending `cosines` and the `scores` they become, ascending as well; two to 4,096 of each.

    Raises SchemaError for others.
    """

    cosines: tuple[float, ...]
    scores: tuple[float, ...]

    def __post_init__(self) -> None:
        pairs = (self.cosines, 1.01), (self.scores, 1e3)
        fits = 2 <= len(self.cosines) <= 4096 and len(self.cosines) == len(self.scores)
        for values, most in pairs:
            fits = fits and all(type(value) in (int, float) and abs(value) <= most for value in values)
            fits = fits and all(one < other for one, other in itertools.pairwise(values))
        if not fits:
            message = "expected a scale of ascending cosines and scores, found others; write the gallery again"
            raise SchemaError(message)

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """From plain values. Raises SchemaError for others."""
        if not isinstance(values, Mapping) or set(values) != {"cosines", "scores"}:
            message = "expected a scale with cosines and scores, found other keys; write the gallery again"
            raise SchemaError(message)
        lists = [values[name] for name in ("cosines", "scores")]
        if not all(isinstance(one, list) for one in lists):
            message = "expected lists of cosines and scores in a scale, found others; write the gallery again"
            raise SchemaError(message)
        return cls(cosines=tuple(lists[0]), scores=tuple(lists[1]))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"cosines": list(self.cosines), "scores": list(self.scores)}

    def of(self, similarities: NDArray[np.floating]) -> NDArray[np.float64]:
        """The scores of cosines, of the same shape; strictly ascending, so that ranks within one model stay."""
        return _extended(np.asarray(similarities, np.float64), self.cosines, self.scores)

    def cosine_of(self, score: float) -> float:
        """The cosine that has this score: the model's own threshold for an FMR of 10 ** -score."""
        return float(_extended(np.array(score), self.scores, self.cosines))


def fit_scale(impostors: NDArray[np.floating]) -> ScoreScale:
    """The scale of a model by the similarities of impostor pairs, in any order.

    Raises InputError for fewer than `LEAST_PAIRS`, or pairs that are all alike.
    """
    ordered = np.sort(np.asarray(impostors, np.float64).ravel())[::-1]
    count = len(ordered)
    if count < LEAST_PAIRS:
        message = f"expected {LEAST_PAIRS} impostor pairs or more to compare two models' scores by, found {count}"
        raise InputError(message)
    places = np.unique(np.geomspace(_DECIDED, count / 2, _POINTS).astype(int))[::-1]
    cosines: list[float] = []
    scores: list[float] = []
    for place in places:
        cosine = float(ordered[place])
        if not cosines or cosine > cosines[-1] + _STEP:
            cosines.append(cosine)
            scores.append(-math.log10(place / count))
    if len(cosines) < 2:
        message = "expected impostor pairs of different similarities to make a scale of, found all alike"
        raise InputError(message)
    return ScoreScale(cosines=tuple(cosines), scores=tuple(scores))


def impostor_similarities(
    gallery: NDArray[np.float32], probes: NDArray[np.float32], codes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Cosines of all pairs of different people of the same N faces, by one model (N, d) or by two of one size."""
    different = codes[:, None] != codes[None]
    return np.asarray((gallery @ probes.T)[different])


def _extended(values: NDArray[np.float64], xs: Sequence[float], ys: Sequence[float]) -> NDArray[np.float64]:
    """Linear interpolation, with the line through both ends' outer parts continued."""
    result = np.interp(values, xs, ys)
    tenth = max(len(xs) // 8, 1)
    low = (ys[tenth] - ys[0]) / (xs[tenth] - xs[0])
    high = (ys[-1] - ys[-1 - tenth]) / (xs[-1] - xs[-1 - tenth])
    result = np.where(values < xs[0], ys[0] + (values - xs[0]) * low, result)
    return np.where(values > xs[-1], ys[-1] + (values - xs[-1]) * high, result)
