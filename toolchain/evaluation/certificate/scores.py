"""What one arrangement of gallery and probes scores: all genuine pairs, and the impostor pairs it accepts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from efq.runtime.certificate.certificate import ARRANGEMENTS
from efq.runtime.errors import InputError
from efq.toolchain.evaluation.certificate.resamples import Resamples, Share
from efq.toolchain.evaluation.figures.blocks import compare_in_blocks
from efq.toolchain.evaluation.figures.cross_pairs import cross_pairs
from efq.toolchain.evaluation.figures.far import AllPairs, all_pairs

_BLOCK = 512
_MOST_ACCEPTED = 20_000_000  # a gigabyte; a threshold in use accepts far fewer


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TwoNetworks:
    """Unit-length embeddings (N, d) of the same images by teacher and student, of people `labels` (N,)."""

    teacher: NDArray[np.float32]
    student: NDArray[np.float32]
    labels: NDArray[np.int64]

    def of(self, side: str) -> NDArray[np.float32]:
        """Those of "teacher" or "student"."""
        return self.teacher if side == "teacher" else self.student

    def all_arrangements(self) -> Mapping[tuple[str, str], AllPairs]:
        """All pairs of each arrangement of (gallery, probes). Raises InputError as `all_pairs`."""
        return {
            (gallery, probes): all_pairs(self.of(gallery), self.labels)
            if gallery == probes
            else cross_pairs(self.of(gallery), self.of(probes), self.labels)
            for gallery, probes in ARRANGEMENTS
        }


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Pairs of images by their places; in a mixed arrangement the first is enrolled, and each two are two pairs.

    genuine_ends: (G, 2) int64, all genuine pairs. genuine: (G,) float32, their similarities. impostor_ends: (K, 2)
    int64, the impostor pairs above `floor`. impostor: (K,) float32.
    """

    ordered: bool
    floor: float
    genuine_ends: NDArray[np.int64]
    genuine: NDArray[np.float32]
    impostor_ends: NDArray[np.int64]
    impostor: NDArray[np.float32]

    def refused(self, threshold: float) -> NDArray[np.bool_]:
        """Which genuine pairs are not accepted, (G,)."""
        return self.genuine <= np.float32(threshold)

    def accepted(self, threshold: float) -> NDArray[np.int64]:
        """The impostor pairs that are, (K, 2)."""
        assert np.float32(threshold) >= np.float32(self.floor)
        return self.impostor_ends[self.impostor > np.float32(threshold)]

    def fnmr(self, threshold: float, resamples: Resamples) -> Share:
        """With its samples."""
        people = resamples.identity[self.genuine_ends[:, 0]]
        errors = resamples.by_person(people[self.refused(threshold)])
        return resamples.of_people(errors, resamples.by_person(people))

    def fmr(self, threshold: float, resamples: Resamples) -> Share:
        """With its samples."""
        ends = resamples.identity[self.accepted(threshold)]
        return resamples.of_impostors(ends, resamples.by_person(resamples.identity), ordered=self.ordered)


def score(networks: TwoNetworks, gallery: str, probes: str, floor: float) -> Scores:
    """Score one arrangement. Raises InputError where more than 20 million impostor pairs are above `floor`."""
    ordered = gallery != probes
    left, right = networks.of(gallery), networks.of(probes)
    genuine_ends = _genuine_places(networks.labels, ordered=ordered)
    impostor_ends, impostor = _impostors_above(left, right, networks.labels, floor, ordered=ordered)
    return Scores(
        ordered=ordered,
        floor=floor,
        genuine_ends=genuine_ends,
        genuine=_similarities(left, right, genuine_ends),
        impostor_ends=impostor_ends,
        impostor=impostor,
    )


def _genuine_places(labels: NDArray[np.int64], *, ordered: bool) -> NDArray[np.int64]:
    found = [np.empty((0, 2), np.int64)]
    order = np.argsort(labels, kind="stable")
    for places in np.split(order, np.flatnonzero(np.diff(labels[order])) + 1):
        first, second = np.triu_indices(len(places), 1)
        found.append(np.stack([places[first], places[second]], axis=1))
    ends = np.concatenate(found)
    return np.concatenate([ends, ends[:, ::-1]]) if ordered else ends


def _similarities(
    left: NDArray[np.float32], right: NDArray[np.float32], ends: NDArray[np.int64]
) -> NDArray[np.float32]:
    found = np.empty(len(ends), np.float32)
    for start in range(0, len(ends), _BLOCK):
        first, second = ends[start : start + _BLOCK].T
        found[start : start + _BLOCK] = np.einsum("ij,ij->i", left[first], right[second])
    return found


def _impostors_above(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    labels: NDArray[np.int64],
    floor: float,
    *,
    ordered: bool,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    found, scores = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    accepted = 0
    everyone = np.arange(len(labels), dtype=np.int32)  # so that rows and columns are places
    for similarities, counted, _, rows, columns in compare_in_blocks(left, right, everyone, _BLOCK, ordered=ordered):
        row, column = np.nonzero(counted & (similarities > np.float32(floor)))
        ends = np.stack([rows[row], columns[column]], axis=1).astype(np.int64)
        different = labels[ends[:, 0]] != labels[ends[:, 1]]
        found.append(ends[different])
        scores.append(similarities[row, column][different])
        accepted += len(found[-1])
        if accepted > _MOST_ACCEPTED:
            message = (
                f"expected a threshold that refuses most impostors, found {floor:.4f}, above which more than "
                f"{_MOST_ACCEPTED:,} impostor pairs are: the student's embeddings are not its teacher's; check it with "
                "efq-evaluate"
            )
            raise InputError(message)
    return np.concatenate(found), np.concatenate(scores)
