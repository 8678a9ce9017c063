"""For whom it got worse: rates of each cohort at one fixed threshold, and how far cohorts lie apart."""

from __future__ import annotations

import dataclasses

from efq.runtime.certificate.rates import Estimate
from efq.runtime.certificate.record import Cosine, Count, Difference, Digest, Number, Record, Side, Text


@dataclasses.dataclass(frozen=True, kw_only=True)
class CohortRates(Record):
    """One cohort in one arrangement of gallery and probes, at the threshold that all cohorts share.

    fmr, fnmr: None where there is no such pair. few_false_matches, few_false_non_matches: fewer than 30, of a mixed
    arrangement, in which each two images are two pairs, than 60: the rate is known to no better than a third (rule of
    30). fnmr_rise: FNMR less that of the teacher alone.
    """

    gallery: Side
    probes: Side
    fmr: Estimate | None
    fnmr: Estimate | None
    fnmr_rise: Estimate | None
    false_matches: Count
    false_non_matches: Count
    few_false_matches: bool
    few_false_non_matches: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohort(Record):
    """Pairs of which both images are of this cohort. rates: one of each arrangement."""

    name: Text
    images: Count
    people: Count
    genuine_pairs: Count
    impostor_pairs: Count
    rates: tuple[CohortRates, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Differential(Record):
    """Largest less smallest rate of the cohorts, and largest by smallest (None where the smallest is 0)."""

    gallery: Side
    probes: Side
    fmr_gap: Difference | None
    fmr_ratio: Number | None
    fnmr_gap: Difference | None
    fnmr_ratio: Number | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cohorts(Record):
    """All cohorts of a file.

    file, sha256: of the file. thresholds: of each arrangement, in the order of `Certificate.galleries`: the deployed
    one of the teacher alone, and the re-mapped ones. without: images of no cohort. differentials: one of each
    arrangement, over the cohorts whose errors are not few; its values are None where these are fewer than two.
    """

    file: Text
    sha256: Digest
    thresholds: tuple[Cosine, ...]
    cohorts: tuple[Cohort, ...]
    without: Count
    differentials: tuple[Differential, ...]
