"""What a reader of a report has to know to judge its figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from efq.benchmarks.timing.machine import Machine
from efq.runtime import Manifest
from efq.toolchain.evaluation import EvaluationFaces

_BUSY_CORES = 0.2


def describe_faces(faces: EvaluationFaces | None, *, listing: Path | None, pairs: Sequence[Path]) -> str:
    """What images a benchmark was made on; without `faces`, that they were drawn."""
    if faces is None:
        return "drawn by EFQ's renderer (no --faces given): latency only, accuracy skipped"
    listed = f", list {listing.name}" if listing else ""
    paired = f", pairs {', '.join(path.name for path in pairs)}" if pairs else ""
    unreadable = f", {len(faces.faces.unreadable)} unreadable skipped" if faces.faces.unreadable else ""
    copies = f", {len(faces.duplicates)} of the same pixels as others left out" if faces.duplicates else ""
    identities = f" of {len(np.unique(faces.labels)):,} identities" if faces.all_pairs else ""
    return f"{len(faces.compared):,} images{identities}{listed}{paired}{unreadable}{copies}"


def threads_note(threads: Sequence[int], machine: Machine) -> list[str]:
    """A note when more threads are timed than there are cores."""
    if max(threads) <= machine.cores:
        return []
    return [f"More threads than the {machine.cores} cores this process may use: those times mean little."]


def teacher_notes(manifests: Sequence[Manifest], names: Sequence[str], teacher_sha256: str) -> list[str]:
    """A note for each artifact that was not made from the teacher it is compared with."""
    return [
        f"{name} was made from another teacher ({manifest.teacher['name']}) than the one given."
        for manifest, name in zip(manifests, names, strict=True)
        if manifest.teacher["sha256"] != teacher_sha256
    ]


def skipped_notes(faces: EvaluationFaces | None) -> list[str]:
    """A note for each pairs file of which pairs are left out, and for images and pairs of one photo."""
    if faces is None:
        return []
    notes = [
        f"{pairs.skipped} pairs of {pairs.name} skipped: an image cannot be decoded, or both show one photo."
        for pairs in faces.pair_lists
        if pairs.skipped
    ]
    if faces.duplicates:
        notes.append(f"{len(faces.duplicates)} images left out of all pairs: they show the photo of another one.")
    near = [("all pairs", faces.near), *((pairs.name, pairs.near) for pairs in faces.pair_lists)]
    return notes + [
        f"{count} genuine pairs of {name} are of one photo, compressed anew, resized or cut: easier than others."
        for name, count in near
        if count
    ]


def other_work(*busy: float | None) -> list[str]:
    """A note when more than a little of the machine was at work for others before or after the timing."""
    most = max((cores for cores in busy if cores is not None), default=0.0)
    if most <= _BUSY_CORES:
        return []
    return [
        f"Other work kept {most:.1f} cores busy before or after the timing: times are longer and ratios other than on "
        "a quiet machine, as networks do not suffer alike from shared caches and execution units. Measure again."
    ]
