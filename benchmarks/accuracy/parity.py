"""Accuracy of several networks on the same faces, and how far they agree face by face and pair by pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import ParityError, UsageError
from efq.toolchain.evaluation import (
    Agreement,
    AllPairs,
    Evaluation,
    EvaluationFaces,
    NetworkEvaluation,
    embedding_cosines,
    evaluate,
    far_name,
    roc_curve,
)
from efq.toolchain.evaluation.figures.rates import BENCHMARK_FARS

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
    `cosine_different`: mean cosine of the network's embeddings of different images;
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
    cosine_different: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AccuracyResults:
    """Accuracy of every network and parity of the compared ones, on `images` faces of `identities` people.

    Where only listed pairs are compared, `identities` is 0, as these do not say who is on an image, and the pairs are
    those of the lists. chance: accuracy by pairs file of a network that knows nothing.
    """

    images: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    networks: tuple[NetworkAccuracy, ...]
    parity: tuple[PairParity, ...]
    chance: Mapping[str, float] = dataclasses.field(default_factory=dict)

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
    than thirty false accepts would decide are left out; without all pairs there are none. Raises InputError when the
    faces give no genuine or no impostor pair, UsageError when embeddings differ in size from the reference's.
    """
    _check_sizes(embeddings, reference)
    found = evaluate(
        embeddings, faces, reference=reference, also=also, fars=BENCHMARK_FARS, only_reached=True, resamples=0
    )
    anchor = embeddings[reference][faces.compared]
    return Comparison(
        results=_results(found, faces),
        curves={name: _curve(pairs) for name, pairs in found.pairs.items()},
        cosines={
            name: embedding_cosines(anchor, vectors[faces.compared]).astype(np.float32)
            for name, vectors in embeddings.items()
            if name != reference
        },
    )


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


def _results(found: Evaluation, faces: EvaluationFaces) -> AccuracyResults:
    pairs = next(iter(found.networks.values())).all_pairs
    listed = sum(len(pairs.same) for pairs in faces.pair_lists)
    genuine = sum(int(pairs.same.sum()) for pairs in faces.pair_lists)
    return AccuracyResults(
        images=len(faces.compared) if pairs is None else pairs.images,
        identities=0 if pairs is None else pairs.identities,
        genuine_pairs=genuine if pairs is None else pairs.genuine_pairs,
        impostor_pairs=listed - genuine if pairs is None else pairs.impostor_pairs,
        networks=tuple(_accuracy(name, network) for name, network in found.networks.items()),
        parity=tuple(_parity(*pair, agreement) for pair, agreement in found.agreements.items()),
        chance={folds.name: folds.chance for folds in next(iter(found.networks.values())).folds},
    )


def _accuracy(name: str, network: NetworkEvaluation) -> NetworkAccuracy:
    rows = network.all_pairs.rows if network.all_pairs else ()
    return NetworkAccuracy(
        network=name,
        tar={far_name(row.far): row.tar.value for row in rows},
        thresholds={far_name(row.far): row.threshold for row in rows},
        ten_fold={folds.name: folds.accuracy.value for folds in network.folds},
    )


def _parity(reference: str, network: str, agreement: Agreement) -> PairParity:
    mean, low, least = agreement.cosine_mean, agreement.cosine_p1, agreement.cosine_min
    assert mean is not None  # sizes are equal
    assert low is not None
    assert least is not None
    return PairParity(
        reference=reference,
        network=network,
        cosine_mean=mean,
        cosine_p1=low,
        cosine_min=least,
        decision_far=agreement.far,
        equal_decisions=agreement.equal_decisions,
        cosine_different=agreement.cosine_different,
    )


def _curve(pairs: AllPairs) -> Curve:
    points = roc_curve(pairs)
    # The part that a few false accepts decide is left out, unless the rest is no curve.
    decided = [point for point in points if point.enough_impostors]
    points = decided if len(decided) > 1 else points
    return np.array([point.far for point in points]), np.array([point.tar for point in points])
