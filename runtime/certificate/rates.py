"""Rates, thresholds and curves of one network.

FMR: false match rate, the share of impostor pairs accepted. FNMR: false non-match rate, the share of genuine pairs
refused (ISO/IEC 19795-1). A pair is accepted when its cosine is above the threshold. All rates are fractions.
"""

from __future__ import annotations

import dataclasses
import itertools

from efq.runtime.certificate.record import SCHEMA, Cosine, Count, Difference, Rate, Record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate(Record):
    """A fraction, or a difference of two, with its interval over subjects; None where there is none.

    The interval is that of the certificate's `Protocol.confidence`.
    """

    value: Difference
    low: Difference | None = None
    high: Difference | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        SCHEMA.expect((self.low is None) == (self.high is None), "an interval", "both of its ends or none", self.low)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatingPoint(Record):
    """The threshold at which at most a share `fmr` of the impostor pairs is accepted, and the FNMR there.

    enough_impostors: whether thirty or more impostor pairs decide the threshold.
    """

    fmr: Rate
    threshold: Cosine
    fnmr: Estimate
    enough_impostors: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class RatesAt(Record):
    """What is measured at one threshold."""

    threshold: Cosine
    fmr: Estimate
    fnmr: Estimate


@dataclasses.dataclass(frozen=True, kw_only=True)
class RateCurve(Record):
    """FMR(t) and FNMR(t): three lists of one length, thresholds ascending. Also a DET, whose points it gives."""

    thresholds: tuple[Cosine, ...]
    fmr: tuple[Rate, ...]
    fnmr: tuple[Rate, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {len(self.thresholds), len(self.fmr), len(self.fnmr)}
        SCHEMA.expect(len(lengths) == 1, "a curve", "as many rates as thresholds", lengths)
        _expect_ascending("a curve's thresholds", self.thresholds, strictly=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Histogram(Record):
    """Pairs by cosine: `genuine` and `impostor` (B,) between one of the ascending `edges` (B + 1,) and the next."""

    edges: tuple[Cosine, ...]
    genuine: tuple[Count, ...]
    impostor: tuple[Count, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        lengths = {len(self.edges) - 1, len(self.genuine), len(self.impostor)}
        SCHEMA.expect(len(lengths) == 1, "a histogram", "one more edge than there are counts", lengths)
        _expect_ascending("a histogram's edges", self.edges, strictly=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkFigures(Record):
    """What one network does on all pairs.

    eer: where FMR and FNMR are equal, at eer_threshold. points: from the highest FMR to the lowest that the impostor
    pairs carry. det: FMR and FNMR at thresholds chosen for even steps in the logarithm of the FMR. curve: the same at
    evenly spaced thresholds.
    """

    eer: Rate
    eer_threshold: Cosine
    points: tuple[OperatingPoint, ...]
    det: RateCurve
    curve: RateCurve
    histogram: Histogram


@dataclasses.dataclass(frozen=True, kw_only=True)
class CosineToTeacher(Record):
    """The cosine of the student's embedding of an image to the teacher's, over all images."""

    mean: Cosine
    least: Cosine
    percentiles: tuple[Percentile, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Percentile(Record):
    """A share of the images, a fraction, has no more than this cosine: 0.01 is the first percentile."""

    share: Rate
    cosine: Cosine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drop(Record):
    """TAR of the teacher less that of the student, each at its own threshold for `fmr`; TAR is 1 - FNMR."""

    fmr: Rate
    drop: Estimate
    enough_impostors: bool


def _expect_ascending(field: str, values: tuple[float, ...], *, strictly: bool) -> None:
    fits = all(one < other or (one == other and not strictly) for one, other in itertools.pairwise(values))
    SCHEMA.expect(fits, field, "ascending values", values)
