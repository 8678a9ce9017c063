"""The one evaluation: several networks on the same faces, beside a reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.toolchain.evaluation.figures.bootstrap import DEFAULT_RESAMPLES
from efq.toolchain.evaluation.figures.far import AllPairs, all_pairs, tar_at_far
from efq.toolchain.evaluation.figures.rates import EVALUATED_FARS, decision_far
from efq.toolchain.evaluation.measure import agreement_at, compare_all_pairs, compare_folds
from efq.toolchain.evaluation.measure_search import measure_search
from efq.toolchain.evaluation.measure_thresholds import far_of_thresholds, measure_thresholds
from efq.toolchain.evaluation.protocols.chance import warn_of_chance
from efq.toolchain.evaluation.protocols.faces import EvaluationFaces
from efq.toolchain.evaluation.protocols.validity import check_embeddings, check_impostors, warn_of_labels
from efq.toolchain.evaluation.report import Agreement, AllPairsResult, FoldResult, SearchResult, ThresholdResult


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkEvaluation:
    """What one network does, with the difference to the reference where there is one.

    all_pairs: TAR and threshold at each FAR; None where only listed pairs are compared. folds: accuracy on each pairs
    file. thresholds: FMR and FNMR at each threshold asked for. search: 1:N figures, None where not asked for.
    """

    all_pairs: AllPairsResult | None
    folds: tuple[FoldResult, ...]
    thresholds: tuple[ThresholdResult, ...] = ()
    search: SearchResult | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """All networks by name, in the order they were given.

    agreements: by (reference, network). pairs: the similarities that `networks` sums up, for curves; by network, none
    where only listed pairs are compared.
    """

    networks: Mapping[str, NetworkEvaluation]
    agreements: Mapping[tuple[str, str], Agreement]
    pairs: Mapping[str, AllPairs]


def evaluate(
    embeddings: Mapping[str, NDArray[np.float32]],
    faces: EvaluationFaces,
    *,
    reference: str | None = None,
    also: Sequence[tuple[str, str]] = (),
    fars: Sequence[float] = EVALUATED_FARS,
    only_reached: bool = False,
    thresholds: Sequence[float] = (),
    search: bool = False,
    resamples: int = DEFAULT_RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """Evaluate networks by their unit-length embeddings (N, d) of all of `faces`.

    Every network is compared with the one named `reference`, and besides the pairs (reference, network) of `also`.
    Decisions are compared at a FAR of 1e-4, or at the lowest of `fars` above it.

    Args:
        fars: to measure TAR at. only_reached: leave out those that fewer than thirty false accepts would decide.
        thresholds: to give FMR and FNMR at. search: whether to search everybody's other images among all first ones.
        resamples: of the bootstrap intervals; 0 leaves them out. seed: of the resamples, the same for all networks.

    Raises InputError for faces that nothing can be measured on (`EvaluationFaces.check`, `check_balance`, and folders
    of one person that count as several), and for embeddings that are not finite, not of unit length or all the same;
    UsageError for no FAR, for thresholds or a search without all pairs, for a threshold that over a tenth of the
    impostor pairs are above, or for a network in `reference` or `also` that is not among the embeddings.
    """
    _check_names(embeddings, reference, also, fars)
    if (search or thresholds) and not faces.all_pairs:
        message = (
            "expected images to compare all pairs of for a search or rates at a threshold, found listed pairs alone"
        )
        raise UsageError(message)
    faces.check()
    for name, vectors in embeddings.items():
        check_embeddings(name, vectors)
    names = list(embeddings)
    place = None if reference is None else names.index(reference)
    compared = {name: vectors[faces.compared] for name, vectors in embeddings.items()}
    pairs = _all_pairs(compared, faces, thresholds, highest_far=max(fars))
    _check_identities(pairs, faces, reference)
    if only_reached and pairs:
        fars = [far for far in fars if tar_at_far(pairs[names[0]], far).enough_impostors]
    results = compare_all_pairs(list(pairs.values()), fars, reference=place, resamples=resamples, seed=seed)
    folds = [
        compare_folds(list(embeddings.values()), listed, reference=place, resamples=resamples, seed=seed)
        for listed in faces.pair_lists
    ]
    searches = []
    if search:
        searches = measure_search(
            list(compared.values()), faces.labels, reference=place, resamples=resamples, seed=seed
        )
    networks = {
        name: NetworkEvaluation(
            all_pairs=results[at] if results else None,
            folds=tuple(of_list[at] for of_list in folds),
            thresholds=measure_thresholds(pairs[name], thresholds) if thresholds else (),
            search=searches[at] if searches else None,
        )
        for at, name in enumerate(names)
    }
    for name, network in networks.items():
        warn_of_chance(name, network.all_pairs, network.folds)
    against_reference = [] if reference is None else [(reference, name) for name in names if name != reference]
    far = decision_far(fars)
    return Evaluation(
        networks=networks,
        agreements={pair: _agreement(*pair, compared, networks, far) for pair in (*against_reference, *also)},
        pairs=pairs,
    )


def _check_names(
    embeddings: Mapping[str, object], reference: str | None, also: Sequence[tuple[str, str]], fars: Sequence[float]
) -> None:
    wanted = {name for pair in also for name in pair} | ({reference} if reference is not None else set())
    unknown = sorted(wanted - set(embeddings))
    if unknown or not fars:
        known = ", ".join(embeddings)
        found = f"no embeddings of {', '.join(unknown)}" if unknown else "no FAR"
        message = f"expected at least one FAR and networks among {known}, found {found}"
        raise UsageError(message)


def _all_pairs(
    embeddings: Mapping[str, NDArray[np.float32]],
    faces: EvaluationFaces,
    thresholds: Sequence[float],
    *,
    highest_far: float,
) -> dict[str, AllPairs]:
    if not faces.all_pairs:
        return {}
    found = {name: all_pairs(vectors, faces.labels, highest_far=highest_far) for name, vectors in embeddings.items()}
    for name, pairs in found.items():
        needed = far_of_thresholds(pairs, thresholds)
        if needed > highest_far:  # more pairs are above a threshold than were kept for the FARs
            found[name] = all_pairs(embeddings[name], faces.labels, highest_far=needed)
    return found


def _check_identities(pairs: Mapping[str, AllPairs], faces: EvaluationFaces, reference: str | None) -> None:
    names = [faces.faces.identities[label] for label in np.unique(faces.labels)]
    if faces.identity_level is None:
        for compared in pairs.values():
            check_impostors(compared, names, faces.faces.source)
    if pairs:
        network = reference if reference is not None else next(iter(pairs))
        warn_of_labels(pairs[network], names, network)


def _agreement(
    reference: str,
    network: str,
    embeddings: Mapping[str, NDArray[np.float32]],
    networks: Mapping[str, NetworkEvaluation],
    far: float | None,
) -> Agreement:
    one, other = networks[network].all_pairs, networks[reference].all_pairs
    thresholds = None
    if one is not None and other is not None and far is not None:
        thresholds = one.at(far).threshold, other.at(far).threshold
    return agreement_at(embeddings[network], embeddings[reference], far, thresholds)
