"""What becomes of matching when gallery and probes are embedded by different networks, teacher or student."""

from __future__ import annotations

import dataclasses

from efq.runtime.certificate.rates import Estimate, OperatingPoint, RatesAt
from efq.runtime.certificate.record import Cosine, Rate, Record, Side


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchPoint(Record):
    """Open-set search at one threshold (ISO/IEC 19795-1, 1:N).

    fpir: the share of searches for people who are not enrolled that find someone above the threshold: of an operating
    point the one asked for. fnir: the share of searches for enrolled people that do not find them first and above the
    threshold. enough_nonmated: whether thirty or more searches decide the threshold or the FPIR.
    """

    fpir: Rate
    fnir: Estimate
    threshold: Cosine
    enough_nonmated: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchFigures(Record):
    """1:N in one arrangement.

    rank1: the share of searches for enrolled people that find them first. rank1_drop: teacher alone less this. points:
    FNIR at the arrangement's own threshold for each FPIR. unchanged, remapped: at the thresholds for FPIR
    `points[0].fpir` of the teacher alone, and at the one of this arrangement with the same FPIR.
    """

    rank1: Estimate
    rank1_drop: Estimate
    points: tuple[SearchPoint, ...]
    unchanged: SearchPoint
    remapped: SearchPoint


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrangement(Record):
    """One of four: who embedded the gallery, and who embeds the probes.

    points: FNMR at this arrangement's own threshold for each FMR. drops, of the same FMRs: TAR of the teacher alone
    less TAR of this arrangement. unchanged: rates at the teacher's deployed threshold. remapped: at the threshold at
    which the FMR of this arrangement is the teacher's at its own (as `DeployedThreshold.remapped`). search: 1:N, None
    where too few people have two images.
    """

    gallery: Side
    probes: Side
    points: tuple[OperatingPoint, ...]
    drops: tuple[Estimate, ...]
    unchanged: RatesAt
    remapped: RatesAt
    search: SearchFigures | None
