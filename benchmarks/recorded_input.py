"""What a teacher was fed when artifacts were made from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from efq.runtime import Manifest
from efq.runtime.reading import sha256_file


def recorded_input(teacher: Path, manifests: Sequence[Manifest]) -> str | None:
    """The `teacher_input` that the first artifact made from this file records; None for one of before it was."""
    found = sha256_file(teacher, expected="a teacher's checkpoint")
    for manifest in manifests:
        training = manifest.recipe.get("training")
        if manifest.teacher["sha256"] == found and isinstance(training, Mapping):
            recorded = training.get("teacher_input")
            return recorded if isinstance(recorded, str) else None
    return None
