"""At which false-accept rates EFQ measures, decides and names thresholds; one place for all of them."""

from __future__ import annotations

from collections.abc import Sequence

EVALUATED_FARS = (1e-3, 1e-4, 1e-5)  # what efq-evaluate reports
BENCHMARK_FARS = (1e-2, *EVALUATED_FARS)  # of these a benchmark reports those that its faces reach
SMALL_SET_FARS = (1e-2, 1e-3, 1e-4)  # for the about a thousand images that the demo or a training run measures on
DECISION_FAR = 1e-4  # where two networks' decisions are compared
FOLDS = 10  # of the verification protocols EFQ writes, as in Labeled Faces in the Wild


def far_name(far: float) -> str:
    """1e-4 as "1e-4", as manifests write it."""
    return f"{far:.0e}".replace("e-0", "e-")


def decision_far(fars: Sequence[float]) -> float | None:
    """1e-4, or the lowest of `fars` above it where they do not reach that far; None when there is none."""
    return min((far for far in fars if far >= DECISION_FAR), default=None)
