"""What a store of enrolled people has to answer: a dictionary of lists, and brute force in float64."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.stores.store import Match, Template

TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reference:
    """`enrolled`: by person and face, the embedding as it was given."""

    template: Template
    enrolled: dict[str, dict[str, NDArray[np.float64]]] = dataclasses.field(default_factory=dict)

    def enroll(self, person: str, rows: NDArray[np.floating], faces: Sequence[str]) -> None:
        self.enrolled.setdefault(person, {}).update(zip(faces, rows.astype(np.float64), strict=True))

    def remove(self, person: str, face: str | None = None) -> int:
        mine = self.enrolled.get(person, {})
        gone = [one for one in mine if face in (None, one)]
        for one in gone:
            del mine[one]
        if not mine:
            self.enrolled.pop(person, None)
        return len(gone)

    def matches(self, probe: NDArray[np.floating]) -> list[Match]:
        """All there are, best first; of equal ones by name."""
        found: list[Match] = []
        for person, rows in self.enrolled.items():
            if self.template == "mean":
                mean = np.sum([rows[face] for face in sorted(rows)], axis=0)
                length = float(np.linalg.norm(mean))
                cosine = float(probe.astype(np.float64) @ mean) / length if length > TOLERANCE else 0.0
                found.append(Match(person=person, face=None, similarity=cosine))
                continue
            mine = [
                Match(person=person, face=face, similarity=float((probe.astype(np.float64) * row).sum()))
                for face, row in rows.items()
            ]
            mine.sort(key=_order)
            found += mine if self.template == "all" else mine[:1]
        return sorted(found, key=_order)

    def expect_found(self, found: Sequence[Sequence[Match]], probes: NDArray[np.floating], k: int) -> None:
        """Each probe's matches are the k best, each with its own similarity; of those that rounding decides, either."""
        for matches, probe in zip(found, probes, strict=True):
            every = self.matches(probe)
            wanted = every[:k]
            assert len(matches) == len(wanted)
            own = {(match.person, match.face): match.similarity for match in every}
            assert len({(match.person, match.face) for match in matches}) == len(matches)
            for match, best in zip(matches, wanted, strict=True):
                assert abs(match.similarity - best.similarity) < TOLERANCE
                assert abs(match.similarity - own[match.person, match.face]) < TOLERANCE


def _order(match: Match) -> tuple[float, str, str]:
    return -match.similarity, match.person, match.face or ""
