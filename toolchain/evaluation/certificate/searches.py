"""1:N: one image each of some people is enrolled, and the others are searched for, in every arrangement alike."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.certificate import ARRANGEMENTS
from efq.runtime.certificate.galleries import SearchFigures, SearchPoint
from efq.toolchain.evaluation.certificate.resamples import Resamples, Share
from efq.toolchain.evaluation.certificate.scores import TwoNetworks
from efq.toolchain.evaluation.figures.limits import enough_errors
from efq.toolchain.evaluation.figures.search import SearchScores, fnir_at_fpir, search_scores

FPIRS = (1e-1, 3e-2, 1e-2)

_FEWEST = 10  # searches of either kind
_LEFT_OUT = 3  # one of so many people is not enrolled, where people with one image are too few


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class SearchSplit:
    """Places of the images that are enrolled (E,), and of those that are searched for (P,)."""

    enrolled: NDArray[np.int64]
    probes: NDArray[np.int64]
    mated: NDArray[np.bool_]


def split_searches(labels: NDArray[np.int64]) -> SearchSplit | None:
    """Enrol the first image of everyone who has two, and search for all others; None where there are too few.

    People with one image are not enrolled; where these are fewer than half as many, every third of the others is not
    either.
    """
    people, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    several = np.flatnonzero(sizes > 1)
    if 2 * (len(people) - len(several)) < len(several):
        several = np.delete(several, np.arange(0, len(several), _LEFT_OUT))
    enrolled = np.sort(first[several])
    probes = np.setdiff1d(np.arange(len(labels)), enrolled)
    mated = np.isin(labels[probes], people[several])
    if len(enrolled) < 2 or min(int(mated.sum()), int((~mated).sum())) < _FEWEST:
        return None
    return SearchSplit(enrolled=enrolled, probes=probes, mated=mated)


def search_figures(
    networks: TwoNetworks, split: SearchSplit, resamples: Resamples, confidence: float
) -> dict[tuple[str, str], SearchFigures]:
    """Of every arrangement of (gallery, probes)."""
    found = {
        (gallery, probes): _Searches(
            search_scores(
                networks.of(gallery)[split.enrolled],
                resamples.identity[split.enrolled],
                networks.of(probes)[split.probes],
                resamples.identity[split.probes],
            ),
            resamples,
        )
        for gallery, probes in ARRANGEMENTS
    }
    reference = found[ARRANGEMENTS[0]]
    threshold = reference.threshold_at(FPIRS[0])
    return {
        arrangement: SearchFigures(
            rank1=searches.rank1.estimate(confidence),
            rank1_drop=reference.rank1.less(searches.rank1, confidence),
            points=tuple(searches.point_at(fpir, confidence) for fpir in FPIRS),
            unchanged=searches.at(threshold, confidence),
            remapped=searches.at(searches.threshold_at(FPIRS[0]), confidence),
        )
        for arrangement, searches in found.items()
    }


class _Searches:
    """The searches of one arrangement."""

    def __init__(self, scores: SearchScores, resamples: Resamples) -> None:
        self._scores, self._resamples = scores, resamples
        self._order = np.argsort(-scores.nonmate, kind="stable")
        self.rank1 = self._of_mated(scores.rank == 1)

    def threshold_at(self, fpir: float) -> float:
        """As `fnir_at_fpir`."""
        return fnir_at_fpir(self._scores, fpir, rank=1).threshold

    def point_at(self, fpir: float, confidence: float) -> SearchPoint:
        """FNIR at its own threshold, found anew in every resample."""
        people = self._scores.nonmate_person[self._order]
        point = fnir_at_fpir(self._scores, fpir, rank=1)
        samples = np.full(len(self._resamples.draws), np.nan)
        for place, draw in enumerate(self._resamples.draws):
            above = np.cumsum(draw[people])
            mated = draw[self._scores.mate_person]
            if above[-1] and mated.any():
                at = min(int(np.searchsorted(above, fpir * above[-1] + 1e-9, side="right")), len(above) - 1)
                drawn = self._missed(float(self._scores.nonmate[self._order[at]]))
                samples[place] = (drawn * mated).sum() / mated.sum()
        share = dataclasses.replace(self._of_mated(self._missed(point.threshold)), samples=samples)
        return SearchPoint(
            fpir=fpir,
            fnir=share.estimate(confidence),
            threshold=point.threshold,
            enough_nonmated=point.enough_nonmated,
        )

    def at(self, threshold: float, confidence: float) -> SearchPoint:
        """Both rates at a threshold that is not found here."""
        found = int((self._scores.nonmate > np.float32(threshold)).sum())
        return SearchPoint(
            fpir=found / len(self._order),
            fnir=self._of_mated(self._missed(threshold)).estimate(confidence),
            threshold=threshold,
            enough_nonmated=enough_errors(found),
        )

    def _missed(self, threshold: float) -> NDArray[np.bool_]:
        """Mated searches that do not return their person first and above the threshold."""
        return np.asarray((self._scores.rank > 1) | (self._scores.mate <= np.float32(threshold)))

    def _of_mated(self, events: NDArray[np.bool_]) -> Share:
        people = self._scores.mate_person
        return self._resamples.of_people(self._resamples.by_person(people[events]), self._resamples.by_person(people))
