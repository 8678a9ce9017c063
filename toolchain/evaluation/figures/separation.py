"""How far a network keeps images apart: whether at all, and genuine from impostor pairs in one number."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import EfqError, GateError, InputError

_ALIKE = 0.999999
"""Root mean square of the cosines of different images above which all embeddings are one, or one and its opposite.

Of networks as torch makes them, untrained, either 0.4 to 0.95, or 0.9999998 and more, where biases outweigh the image.
"""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Separation:
    """Of the cosines of genuine and impostor pairs: their means, AUC (0.5 is chance) and d-prime (0 is chance).

    AUC: the probability that a genuine pair is more alike than an impostor pair (Hanley and McNeil, 1982).
    d_prime: (mean of genuine - mean of impostor) / sqrt(mean of both variances) (Green and Swets, 1966); it still
    tells networks apart where AUC is 1 for all. resampled: (R,) d-primes of resamples of the identities.
    """

    genuine: float
    impostor: float
    auc: float
    d_prime: float
    resampled: NDArray[np.float64]

    def errors_above(self, other: Self) -> float:
        """By how many standard errors this d-prime is above that of another network on the same faces."""
        differences = self.resampled - other.resampled
        spread = float(np.nanstd(differences))
        return (self.d_prime - other.d_prime) / max(spread, 1e-9)

    @property
    def error(self) -> float:
        """The standard error of d-prime."""
        return max(float(np.nanstd(self.resampled)), 1e-9)

    @property
    def errors_above_chance(self) -> float:
        """By how many standard errors d-prime is above 0."""
        return self.d_prime / self.error


def measure_separation(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], *, resamples: int = 200, seed: int = 0
) -> Separation:
    """Of all pairs of unit-length `embeddings` (N, d) of identities `labels` (N,).

    Identities are resampled, as pairs that share a person are not independent (see `bootstrap_tar`); the resamples
    are the same for the same labels. Raises InputError when there is no genuine or no impostor pair.
    """
    names, identity = np.unique(labels, return_inverse=True)
    cosines = embeddings.astype(np.float64) @ embeddings.T.astype(np.float64)
    later = np.triu(np.ones_like(cosines, dtype=np.bool_), 1)
    same = identity[:, None] == identity[None]
    genuine, impostor = cosines[later & same], cosines[later & ~same]
    if not len(genuine) or not len(impostor):
        message = f"expected genuine and impostor pairs, found {len(labels)} images of {len(names)} identities"
        raise InputError(message)
    sums = _sums_by_identity(cosines, identity, later)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
    return Separation(
        genuine=float(genuine.mean()),
        impostor=float(impostor.mean()),
        auc=auc(genuine, impostor),
        d_prime=_d_prime(sums, np.ones(len(names))),
        resampled=np.array([_d_prime(sums, draw.astype(np.float64)) for draw in draws]),
    )


def _sums_by_identity(
    cosines: NDArray[np.float64], identity: NDArray[np.int64], later: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Number, sum and sum of squares of the pairs of every two identities, (3, I, I)."""
    members = np.eye(int(identity.max()) + 1)[identity]
    return np.stack([members.T @ (later * values) @ members for values in (np.ones_like(cosines), cosines, cosines**2)])


def _d_prime(sums: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """With identities counted `weights` (I,) times; NaN where that leaves no genuine or no impostor pair."""
    own = np.einsum("kii,i->k", sums, weights)
    other = np.einsum("kij,i,j->k", sums, weights, weights) - np.einsum("kii,i->k", sums, weights**2)
    if own[0] == 0 or other[0] == 0:
        return float("nan")
    means, squares = np.array([own[1] / own[0], other[1] / other[0]]), np.array([own[2] / own[0], other[2] / other[0]])
    variance = float(np.maximum(squares - means**2, 1e-12).mean())
    return float((means[0] - means[1]) / np.sqrt(variance))


def auc(genuine: NDArray[np.floating], impostor: NDArray[np.floating]) -> float:
    """Share of couples of a genuine (G,) and an impostor (I,) similarity in which the genuine is higher; ties half."""
    ordered = np.sort(impostor)
    below = np.searchsorted(ordered, genuine, side="left") + np.searchsorted(ordered, genuine, side="right")
    return float(below.mean() / (2 * len(ordered)))


def refuse_collapsed(embeddings: NDArray[np.floating], name: str, *, error_class: type[EfqError] = GateError) -> float:
    """The mean cosine of different images' `embeddings` (N, d), which need not be of unit length; 0 of a single one.

    Raises `error_class` naming the network `name` when values are not finite, a row is zero, or all rows are alike
    (where there are two or more): cosines of such embeddings are 1.0000 for any two faces.
    """
    values = np.asarray(embeddings, np.float64)
    wrong = int((~np.isfinite(values)).any(axis=1).sum())
    if wrong:
        message = (
            f"expected finite embeddings from {name}, found NaN or infinity for {wrong} of {len(values)} images: "
            "its weights are damaged, or too large for the input it is given"
        )
        raise error_class(message)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    zero = int((lengths == 0).sum())
    if zero:
        message = (
            f"expected embeddings from {name}, found zeros for {zero} of {len(values)} images: its weights are "
            "damaged, or its values beyond float32"
        )
        raise error_class(message)
    if len(values) < 2:
        return 0.0
    unit = values / lengths
    count = len(unit) * (len(unit) - 1)
    squares = (float(((unit.T @ unit) ** 2).sum()) - len(unit)) / count
    if squares >= _ALIKE**2:
        message = (
            f"expected different embeddings of different images from {name}, found the same for all of {len(values)} "
            f"images (cosines of {np.sqrt(squares):.7f}): its weights are damaged or were never trained"
        )
        raise error_class(message)
    return cosine_of_different(unit)


def cosine_of_different(embeddings: NDArray[np.floating]) -> float:
    """The mean cosine of different images' unit-length `embeddings` (N, d), N of 2 or more."""
    number = len(embeddings)
    total = embeddings.sum(axis=0, dtype=np.float64)
    return (float(total @ total) - number) / (number * (number - 1))
