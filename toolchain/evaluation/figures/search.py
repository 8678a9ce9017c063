"""Search of one probe in a gallery of many people: CMC, and FNIR@FPIR of open-set identification (ISO/IEC 19795-1).

A probe returns a person when their similarity is above the threshold. The similarity of a person is that of their best
enrolled image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.figures.limits import enough_errors


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SearchScores:
    """What P probes found among E enrolled people: M of probes whose person is enrolled, U of those whose is not.

    mate: (M,) float32, similarity to the own person. rank: (M,) int64, place of the own person, from 1; people as alike
    as the own one come before it. nonmate: (U,) float32, similarity to the person that is most alike.
    other: (M,) float32, similarity to the person that is most alike of all but the own one; -inf where nobody else is
    enrolled. mate_person, nonmate_person: (M,) and (U,) int64, who is on each probe.
    """

    mate: NDArray[np.float32]
    rank: NDArray[np.int64]
    other: NDArray[np.float32]
    nonmate: NDArray[np.float32]
    mate_person: NDArray[np.int64]
    nonmate_person: NDArray[np.int64]
    enrolled: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FnirAtFpir:
    """FNIR at an FPIR. `enough_nonmated`: whether at least 30 false positives set the threshold (`limits`)."""

    fpir: float
    fnir: float
    threshold: float
    enough_nonmated: bool


def search_scores(
    gallery: NDArray[np.float32],
    gallery_people: NDArray[np.int64],
    probes: NDArray[np.float32],
    probe_people: NDArray[np.int64],
    *,
    block: int = 512,
) -> SearchScores:
    """Search `probes` (P, d) of `probe_people` (P,) in `gallery` (G, d) of `gallery_people` (G,), all of unit length.

    Works in blocks of probes. Raises InputError for an empty gallery, no probes, or embeddings of other sizes.
    """
    if not len(gallery) or not len(probes) or gallery.shape[1] != probes.shape[1]:
        message = f"expected a gallery and probes of one embedding size, found {gallery.shape} and {probes.shape}"
        raise InputError(message)
    order = np.argsort(gallery_people, kind="stable")
    people, first = np.unique(gallery_people[order], return_index=True)
    enrolled = np.ascontiguousarray(gallery[order])
    own = np.searchsorted(people, probe_people)
    mated = people[np.minimum(own, len(people) - 1)] == probe_people
    best, other = np.empty(len(probes), np.float32), np.empty(len(probes), np.float32)
    rank = np.zeros(len(probes), np.int64)
    for start in range(0, len(probes), block):
        chosen = slice(start, start + block)
        similarities = np.maximum.reduceat(probes[chosen] @ enrolled.T, first, axis=1)
        best[chosen] = similarities.max(axis=1)
        rows = np.flatnonzero(mated[chosen])
        mate = similarities[rows, own[chosen][rows]]
        best[start + rows] = mate
        rank[start + rows] = (similarities[rows] >= mate[:, None]).sum(axis=1)
        similarities[rows, own[chosen][rows]] = -np.inf
        other[chosen] = similarities.max(axis=1)
    return SearchScores(
        mate=best[mated],
        rank=rank[mated],
        other=other[mated],
        nonmate=best[~mated],
        mate_person=probe_people[mated],
        nonmate_person=probe_people[~mated],
        enrolled=len(people),
    )


def leave_own_person_out(scores: SearchScores) -> SearchScores:
    """With a probe without a mate for each mated one too: itself, searched in a gallery without its own person.

    For a gallery of everybody there is. Raises InputError where nobody else is enrolled.
    """
    if scores.enrolled < 2:
        message = f"expected two enrolled people or more, of whom to leave one out, found {scores.enrolled}"
        raise InputError(message)
    return dataclasses.replace(
        scores,
        nonmate=np.concatenate([scores.nonmate, scores.other]),
        nonmate_person=np.concatenate([scores.nonmate_person, scores.mate_person]),
    )


def cmc(scores: SearchScores, ranks: Sequence[int]) -> NDArray[np.float64]:
    """Cumulative match characteristic, the share of mated probes whose person is among the first k, by `ranks`.

    Raises InputError where no probe's person is enrolled, UsageError for a rank below 1.
    """
    _require_mated(scores)
    if min(ranks, default=1) < 1:
        message = f"expected ranks from 1, found {min(ranks)}"
        raise UsageError(message)
    return np.array([(scores.rank <= rank).mean() for rank in ranks], np.float64)


def fnir_at_threshold(scores: SearchScores, threshold: float, *, rank: int | None = None) -> float:
    """False-negative identification rate: mated probes whose person is not above the threshold, or not within `rank`.

    Raises InputError where no probe's person is enrolled.
    """
    _require_mated(scores)
    missed = scores.mate <= threshold
    return float((missed if rank is None else missed | (scores.rank > rank)).mean())


def fpir_at_threshold(scores: SearchScores, threshold: float) -> float:
    """False-positive identification rate: probes of people who are not enrolled that return anybody.

    Raises InputError where there is no such probe.
    """
    _require_nonmated(scores)
    return float((scores.nonmate > threshold).mean())


def fnir_at_fpir(scores: SearchScores, fpir: float, *, rank: int | None = None) -> FnirAtFpir:
    """FNIR at the lowest threshold, of the similarities that probes without a mate find, with an FPIR not above `fpir`.

    rank: the own person has to be among the first so many too; any place by default. Raises InputError without probes
    of both kinds, UsageError for an `fpir` that is no share.
    """
    _require_nonmated(scores)
    if not 0.0 <= fpir <= 1.0:
        message = f"expected an FPIR of 0 to 1, found {fpir}"
        raise UsageError(message)
    allowed = fpir * len(scores.nonmate) + 1e-9
    threshold = float(np.sort(scores.nonmate)[::-1][min(int(allowed), len(scores.nonmate) - 1)])
    return FnirAtFpir(
        fpir=fpir,
        fnir=fnir_at_threshold(scores, threshold, rank=rank),
        threshold=threshold,
        enough_nonmated=enough_errors(fpir * len(scores.nonmate)),
    )


def _require_mated(scores: SearchScores) -> None:
    if not len(scores.mate):
        message = f"expected probes of people who are enrolled, found none for {scores.enrolled} enrolled people"
        raise InputError(message)


def _require_nonmated(scores: SearchScores) -> None:
    if not len(scores.nonmate):
        message = "expected probes of people who are not enrolled, of whom FPIR is a share, found none"
        raise InputError(message)
