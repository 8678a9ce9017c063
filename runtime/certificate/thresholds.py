"""The threshold that is deployed with the teacher: what becomes of it, and of the verdicts at it, with the student."""

from __future__ import annotations

import dataclasses

from efq.runtime.certificate.rates import Estimate, RatesAt
from efq.runtime.certificate.record import SCHEMA, Cosine, Count, Record

QUANTILE, SHIFTED = "quantile", "shifted"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flips(Record):
    """Pairs whose verdict changes where the student, at `threshold`, takes the teacher's place at its own.

    genuine_lost: accepted by the teacher alone. genuine_gained: by the student alone. impostor_lost, impostor_gained:
    the same of impostor pairs. genuine, impostor, all_pairs: the share of them whose verdict changes.
    """

    threshold: Cosine
    genuine_lost: Count
    genuine_gained: Count
    impostor_lost: Count
    impostor_gained: Count
    genuine: Estimate
    impostor: Estimate
    all_pairs: Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class DeployedThreshold(Record):
    """A threshold of the teacher and what it becomes for the student; thresholds are cosines.

    threshold: the teacher's. stated: whether the user deploys it; else it is the teacher's at the certified FMR.
    teacher: rates of the teacher at it. unchanged: of the student at the same cosine. remapped: of the student at the
    threshold at which its FMR is the teacher's; remapped_low, remapped_high: the interval of that threshold.
    method: how it was found: "quantile", where thirty or more impostor pairs are above the teacher's threshold: at most
    as many are above the student's; "shifted", where fewer are: moved by as much as the two thresholds at thirty
    impostor pairs lie apart. false_matches: impostor pairs the teacher accepts, of which thirty are enough_impostors.
    flips_unchanged, flips_remapped: verdicts that change.
    """

    threshold: Cosine
    stated: bool
    teacher: RatesAt
    unchanged: RatesAt
    remapped: RatesAt
    remapped_low: Cosine | None
    remapped_high: Cosine | None
    method: str
    false_matches: Count
    enough_impostors: bool
    flips_unchanged: Flips
    flips_remapped: Flips

    def __post_init__(self) -> None:
        super().__post_init__()
        SCHEMA.expect(self.method in (QUANTILE, SHIFTED), "method", f"{QUANTILE} or {SHIFTED}", self.method)
