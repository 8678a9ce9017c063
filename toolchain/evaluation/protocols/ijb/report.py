"""What was measured on IJB-B or IJB-C, as plain values."""

from __future__ import annotations

import dataclasses
from typing import Any

from efq.toolchain.evaluation.report import NetworkSummary

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share in [0, 1] of the model, of the reference where there is one, and model - reference."""

    model: float
    reference: float | None = None
    difference: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TarRow:
    """TAR at a FAR and the threshold it has; `enough_impostors` as of `TarAtFar`."""

    far: float
    tar: Share
    threshold: float
    reference_threshold: float | None
    enough_impostors: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class VerificationResult:
    """The 1:1 protocol. failed_genuine_pairs, failed_impostor_pairs: those with a template that is not enrolled.

    They count: as pairs that are not accepted.
    """

    genuine_pairs: int
    impostor_pairs: int
    failed_genuine_pairs: int
    failed_impostor_pairs: int
    rows: tuple[TarRow, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RankRow:
    """The share of mated searches with the own subject among the first `rank` (CMC)."""

    rank: int
    identified: Share


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FnirRow:
    """FNIR at an FPIR and the threshold it has, None of a mean; `enough_nonmated` as of `FnirAtFpir`."""

    fpir: float
    fnir: Share
    threshold: float | None
    reference_threshold: float | None
    enough_nonmated: bool


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """The 1:N protocol on one gallery of `subjects`, or the mean of several.

    mated, nonmated: searches of subjects who are in the gallery, and who are not. failed_mated: of the first, those
    that a template which is not enrolled lets fail; they count as misses. failed_nonmated: likewise, as no false
    positives. fnir: () without nonmated searches.
    """

    gallery: str
    subjects: int
    mated: int
    nonmated: int
    failed_mated: int
    failed_nonmated: int
    ranks: tuple[RankRow, ...]
    fnir: tuple[FnirRow, ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IjbReport:
    """Everything `efq-evaluate --ijb` measured.

    lists_sha256: one hash of the benchmark's lists. failed_images: that could not be read or cut. failed_templates:
    the numbers of those that none of their images enrols. odd_landmarks: images with landmarks that no face has, which
    are cut all the same. searches: a gallery each, then their mean. clean: False when a network was fine-tuned on some
    of the images.
    """

    model: NetworkSummary
    reference: NetworkSummary | None
    benchmark: str
    folder: str
    lists_sha256: str
    mode: str
    images: int
    templates: int
    failed_images: tuple[str, ...]
    failed_templates: tuple[int, ...]
    odd_landmarks: int
    clean: bool
    verification: VerificationResult | None
    searches: tuple[SearchResult, ...]
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)
