"""The torch students of the compared artifacts, in both forms, by what each is called in a report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from efq.export.reduced_range import as_exported
from efq.export.references.integer import IntegerReference
from efq.runtime import Manifest
from efq.toolchain.evaluation.embed import Embed
from efq.toolchain.networks import open_network, torch_embedding
from efq.toolchain.student import load_student


def integer_students(names: Sequence[str], manifests: Sequence[Manifest], students: Sequence[Path]) -> dict[str, Embed]:
    """The students computed with their integers as the artifacts `names` compute them; none where none are given."""
    device = torch.device("cpu")
    return {
        f"{name} (torch student)": torch_embedding(IntegerReference(as_exported(load_student(path), manifest)), device)
        for name, manifest, path in zip(names, manifests, students, strict=False)
    }


def simulated_students(names: Sequence[str], students: Sequence[Path], *, threads: int) -> dict[str, Embed]:
    """The students as they were trained: integers simulated in float32."""
    return {
        f"{name} (torch, fake quantization)": open_network(path, threads=threads).embed
        for name, path in zip(names, students, strict=False)
    }
