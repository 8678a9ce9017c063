"""What an evaluation found, as plain values."""

from __future__ import annotations

import dataclasses
from typing import Any

SCHEMA_VERSION = 1


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """A share in [0, 1] (or a difference of two) with its 95 % bootstrap interval; None where not resampled."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FarResult:
    """TAR at one FAR. `difference` is model - reference, on the same resamples."""

    far: float
    enough_impostors: bool
    threshold: float
    tar: Estimate
    reference_threshold: float | None = None
    reference_tar: Estimate | None = None
    difference: Estimate | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AllPairsResult:
    """TAR@FAR over all pairs of a set of images."""

    images: int
    identities: int
    genuine_pairs: int
    impostor_pairs: int
    rows: tuple[FarResult, ...]

    def at(self, far: float) -> FarResult:
        """The row of a FAR that was measured."""
        return next(row for row in self.rows if row.far == far)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FoldResult:
    """k-fold accuracy on a pairs file; `skipped_pairs` hold an image that cannot be decoded, or two of the same pixels.

    chance: the accuracy of a network that knows nothing, 0.5 where half of the pairs are genuine.
    """

    name: str
    pairs: int
    skipped_pairs: int
    chance: float
    accuracy: Estimate
    standard_deviation: float
    fold_accuracies: tuple[float, ...]
    reference_accuracy: Estimate | None = None
    difference: Estimate | None = None


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

    duplicates: paths of images left out of all pairs, as their pixels are those of another one (`EvaluationFaces`).
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
    schema_version: int = SCHEMA_VERSION

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)
