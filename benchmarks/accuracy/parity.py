"""Accuracy of several networks on the same faces, and how far they agree face by face and pair by pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.accuracy.evaluation_faces import EvaluationFaces
from efq.runtime.errors import ParityError, UsageError
from efq.toolchain.evaluation import (
    AllPairs,
    all_pairs,
    equal_decisions,
    fold_accuracy,
    pair_similarities,
    roc_curve,
    tar_at_far,
)

FARS = (1e-2, 1e-3, 1e-4, 1e-5)
DECISION_FAR = 1e-4

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]
"""A ROC: false accept rates and true accept rates, as fractions, both ascending."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkAccuracy:
    """`tar` and `thresholds` (cosine) by FAR ("1e-4"), `ten_fold` accuracy by pairs file; rates are fractions."""

    network: str
    tar: Mapping[str, float]
    thresholds: Mapping[str, float]
    ten_fold: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PairParity:
    """Agreement of `network` with `reference`.

    Mean, first percentile and minimum over images of the cosine between the two embeddings of an image;
    `equal_decisions`: fraction of all pairs that both accept or both reject, each at its own threshold for
    `decision_far`; both None where there are too few impostor pairs for any FAR.
    """

    reference: str
    network: str
    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    decision_far: float | None
    equal_decisions: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyResults:
    """Accuracy of every network and parity of the compared ones, on `images` faces of `identities` people."""

    images: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    networks: tuple[NetworkAccuracy, ...]
    parity: tuple[PairParity, ...]

    def between(self, reference: str, network: str) -> PairParity:
        """The parity of `network` with `reference`, which were compared."""
        return next(pair for pair in self.parity if (pair.reference, pair.network) == (reference, network))

    def of(self, network: str) -> NetworkAccuracy:
        """The accuracy of one network."""
        return next(accuracy for accuracy in self.networks if accuracy.network == network)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """`results`, and by network what only plots need: the ROC and each image's cosine to the reference."""

    results: AccuracyResults
    curves: Mapping[str, Curve]
    cosines: Mapping[str, NDArray[np.float32]]


def compare(
    embeddings: Mapping[str, NDArray[np.float32]],
    faces: EvaluationFaces,
    *,
    reference: str,
    also: Sequence[tuple[str, str]] = (),
) -> Comparison:
    """Compare networks by their unit-length embeddings (N, d) of all of `faces`.

    Every network is compared with `reference`, and besides the pairs (reference, network) of `also`. FARs that fewer
    than ten false accepts would decide are left out. Raises InputError when the faces give no genuine or no impostor
    pair, UsageError when embeddings differ in size from the reference's.
    """
    _check_sizes(embeddings, reference)
    compared = {name: vectors[faces.compared] for name, vectors in embeddings.items()}
    pairs = {name: all_pairs(vectors, faces.labels) for name, vectors in compared.items()}
    first = pairs[reference]
    fars = [far for far in FARS if tar_at_far(first, far).enough_impostors]
    against_reference = [(reference, name) for name in embeddings if name != reference]
    results = AccuracyResults(
        images=len(faces.labels),
        identities=len(first.identity_sizes),
        genuine_pairs=len(first.genuine),
        impostor_pairs=first.impostor_pairs,
        networks=tuple(_accuracy(name, pairs[name], fars, embeddings[name], faces) for name in embeddings),
        parity=tuple(
            _parity(one, other, compared, pairs, decision_far(fars)) for one, other in (*against_reference, *also)
        ),
    )
    return Comparison(
        results=results,
        curves={name: _curve(pairs[name]) for name in embeddings},
        cosines={name: cosines(compared[reference], compared[name]) for _, name in against_reference},
    )


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosine of each image's two embeddings (N,), from unit-length (N, d) and (N, d)."""
    return np.asarray(np.einsum("ij,ij->i", first.astype(np.float64), second.astype(np.float64)), np.float32)


def decision_far(fars: Sequence[float]) -> float | None:
    """1e-4, or the lowest of `fars` above it where the faces do not reach that far; None when there is none."""
    return min((far for far in fars if far >= DECISION_FAR), default=None)


def far_name(far: float) -> str:
    """1e-4 as "1e-4", as manifests write it."""
    return f"{far:.0e}".replace("e-0", "e-")


def check_gates(parity: PairParity, *, min_cosine: float | None, min_decisions: float | None) -> None:
    """Raise ParityError when the worst image's cosine or the fraction of equal decisions is below what was asked."""
    against = f"{parity.network} against {parity.reference}"
    if min_cosine is not None and parity.cosine_min < min_cosine:
        found = f"{parity.cosine_min:.6f} ({against})"
        message = f"expected a cosine of at least {min_cosine} on every image, found {found}"
        raise ParityError(message)
    if min_decisions is None:
        return
    if parity.equal_decisions is None:
        message = f"expected enough impostor pairs to compare decisions, found too few ({against}); give more faces"
        raise ParityError(message)
    if parity.equal_decisions < min_decisions:
        message = (
            f"expected equal decisions on a fraction of at least {min_decisions} of all pairs, "
            f"found {parity.equal_decisions:.6f} ({against})"
        )
        raise ParityError(message)


def _check_sizes(embeddings: Mapping[str, NDArray[np.float32]], reference: str) -> None:
    expected = embeddings[reference].shape[1]
    for name, vectors in embeddings.items():
        if vectors.shape[1] != expected:
            message = (
                f"expected embeddings of {expected} numbers as {reference} gives them, found {vectors.shape[1]} "
                f"from {name}; compare networks made from this teacher"
            )
            raise UsageError(message)


def _accuracy(
    name: str, pairs: AllPairs, fars: Sequence[float], embeddings: NDArray[np.float32], faces: EvaluationFaces
) -> NetworkAccuracy:
    points = {far_name(far): tar_at_far(pairs, far) for far in fars}
    ten_fold = {}
    for listed in faces.pair_lists:
        similarities = pair_similarities(embeddings, listed.first, listed.second)
        ten_fold[listed.name] = fold_accuracy(similarities, listed.same, listed.folds).accuracy
    return NetworkAccuracy(
        network=name,
        tar={far: point.tar for far, point in points.items()},
        thresholds={far: point.threshold for far, point in points.items()},
        ten_fold=ten_fold,
    )


def _parity(
    reference: str,
    network: str,
    embeddings: Mapping[str, NDArray[np.float32]],
    pairs: Mapping[str, AllPairs],
    far: float | None,
) -> PairParity:
    first, second = embeddings[reference], embeddings[network]
    agreement = cosines(first, second)
    equal = None
    if far is not None:
        thresholds = [tar_at_far(pairs[name], far).threshold for name in (reference, network)]
        equal = equal_decisions(first, thresholds[0], second, thresholds[1])
    return PairParity(
        reference=reference,
        network=network,
        cosine_mean=float(agreement.mean()),
        cosine_p1=float(np.percentile(agreement, 1)),
        cosine_min=float(agreement.min()),
        decision_far=far,
        equal_decisions=equal,
    )


def _curve(pairs: AllPairs) -> Curve:
    points = roc_curve(pairs)
    # The part that a few false accepts decide is left out, unless there is no other.
    points = [point for point in points if point.enough_impostors] or points
    return np.array([point.far for point in points]), np.array([point.tar for point in points])
