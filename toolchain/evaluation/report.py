"""What an evaluation found, as plain values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

from efq.toolchain.evaluation.curves import NetworkCurves
from efq.toolchain.evaluation.figures.error_rates import generalized_fnmr
from efq.toolchain.evaluation.figures.rates import far_name

SCHEMA_VERSION = 2


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A share in [0, 1] (or a difference of two) with its 95 % interval; None where not resampled."""

    value: float
    low: float | None = None
    high: float | None = None

    def complement(self) -> Self:
        """Of 1 - value."""
        low, high = (None if bound is None else 1.0 - bound for bound in (self.high, self.low))
        return dataclasses.replace(self, value=1.0 - self.value, low=low, high=high)

    def negative(self) -> Self:
        """Of a difference the other way about."""
        low, high = (None if bound is None else -bound for bound in (self.high, self.low))
        return dataclasses.replace(self, value=-self.value, low=low, high=high)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FarResult:
    """TAR at one FAR, and FNMR at that FMR, which is 1 - TAR. `difference` of TAR is model - reference.

    enough_impostors: whether 30 false accepts or more set the threshold; otherwise the figures are not worth giving.
    """

    far: float
    enough_impostors: bool
    threshold: float
    tar: Estimate
    reference_threshold: float | None = None
    reference_tar: Estimate | None = None
    difference: Estimate | None = None

    @property
    def fnmr(self) -> Estimate:
        """FNMR of the model."""
        return self.tar.complement()

    @property
    def reference_fnmr(self) -> Estimate | None:
        """FNMR of the reference."""
        return None if self.reference_tar is None else self.reference_tar.complement()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AllPairsResult:
    """TAR@FAR over all pairs of a set of images, and the equal error rate."""

    images: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    rows: tuple[FarResult, ...]
    eer: float | None = None
    reference_eer: float | None = None

    def at(self, far: float) -> FarResult:
        """The row of a FAR that was measured."""
        return next(row for row in self.rows if row.far == far)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdResult:
    """FMR and FNMR of one network at a threshold, with the number of false matches that the FMR is of.

    enough_impostors: whether those are 30 or more; otherwise the FMR is not worth giving.
    """

    threshold: float
    false_matches: int
    enough_impostors: bool
    fmr: Estimate
    fnmr: Estimate


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RankResult:
    """The share of probes whose person is among the first `rank` (CMC). `difference` is model - reference."""

    rank: int
    rate: Estimate
    reference_rate: Estimate | None = None
    difference: Estimate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FpirResult:
    """FNIR at one FPIR. `enough_probes`: whether 30 false positives or more set the threshold.

    `difference` is model - reference, on the same resamples.
    """

    fpir: float
    enough_probes: bool
    threshold: float
    fnir: Estimate
    reference_threshold: float | None = None
    reference_fnir: Estimate | None = None
    difference: Estimate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """1:N: the first image of `enrolled` people as a gallery, all their other images as probes."""

    enrolled: int
    probes: int
    ranks: tuple[RankResult, ...]
    rows: tuple[FpirResult, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FoldResult:
    """k-fold accuracy on a pairs file.

    skipped_pairs: left out, with an image that cannot be decoded, two of the same pixels, or one photo said to be of
        two people. near_pairs: genuine ones of one photo, compressed anew, resized, cut or mirrored.
    chance: the accuracy of a network that knows nothing, 0.5 where half of the pairs are genuine.
    """

    name: str
    pairs: int
    skipped_pairs: int
    chance: float
    accuracy: Estimate
    standard_deviation: float
    fold_accuracies: tuple[float, ...]
    near_pairs: int = 0
    reference_accuracy: Estimate | None = None
    difference: Estimate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FailureToEnrol:
    """Images that cannot be decoded, of all that were to be; `generalized_fnmr` counts them as rejected, by FMR."""

    images: int
    failed: int
    rate: float
    generalized_fnmr: Mapping[str, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Agreement:
    """How alike two networks are on the same images.

    cosine_mean, cosine_p1, cosine_min: of the cosine between both embeddings of an image: mean, first percentile and
        minimum; None where the embedding sizes differ.
    cosine_different: mean cosine of the model's embeddings of different images: near 1, the others mean nothing. None
        of a single image.
    equal_decisions: share of all pairs decided alike, each network at its own threshold at `far`; None without all
        pairs. far: None where there are too few impostor pairs for any.
    """

    cosine_mean: float | None
    cosine_p1: float | None
    cosine_min: float | None
    far: float | None
    equal_decisions: float | None
    cosine_different: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NetworkSummary:
    """Which network was evaluated; `training_images`: how many of the images evaluated on it was fine-tuned on.

    `backend`: the runtime that computed an artifact, None for torch.
    """

    kind: str
    name: str
    path: str
    sha256: str
    training_images: int
    backend: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationReport:
    """Everything `efq-evaluate` measured. `clean` is False when a network was fine-tuned on images evaluated on.

    duplicates: paths of images left out of all pairs, as they show another one's photo (`EvaluationFaces`). near_pairs:
    genuine pairs among all pairs of one photo in other pixels.
    thresholds, curves: of the "model" and, where there is one, of the "reference".
    """

    model: NetworkSummary
    reference: NetworkSummary | None
    faces: str
    faces_sha256: str
    images: int
    unreadable: tuple[str, ...]
    duplicates: tuple[str, ...]
    flip: bool
    resamples: int
    clean: bool
    all_pairs: AllPairsResult | None
    pairs: tuple[FoldResult, ...]
    agreement: Agreement | None
    near_pairs: int = 0
    thresholds: Mapping[str, tuple[ThresholdResult, ...]] = dataclasses.field(default_factory=dict)
    search: SearchResult | None = None
    curves: Mapping[str, NetworkCurves] = dataclasses.field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values = dataclasses.asdict(self)
        for row, written in zip(self._rows, (values["all_pairs"] or {"rows": ()})["rows"], strict=True):
            written["fnmr"] = dataclasses.asdict(row.fnmr)
            written["reference_fnmr"] = None if row.reference_fnmr is None else dataclasses.asdict(row.reference_fnmr)
        return values | {"failure_to_enrol": dataclasses.asdict(self.failure_to_enrol)}

    @property
    def failure_to_enrol(self) -> FailureToEnrol:
        """Of all images that were to be compared."""
        failed = len(self.unreadable)
        rate = failed / (self.images + failed)
        return FailureToEnrol(
            images=self.images + failed,
            failed=failed,
            rate=rate,
            generalized_fnmr={far_name(row.far): generalized_fnmr(row.fnmr.value, rate) for row in self._rows},
        )

    @property
    def _rows(self) -> tuple[FarResult, ...]:
        return () if self.all_pairs is None else self.all_pairs.rows
