"""What a teacher, a student or an artifact consists of, as efq-inspect shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efq.export.inspection.certificate import inspect_certificate
from efq.export.probe_check import compare_embedding, compare_here
from efq.runtime.artifact.folder import Artifact
from efq.runtime.errors import UsageError


def inspect(
    model: Path,
    *,
    backbone: str | None = None,
    teacher_input: str | None = None,
    embedding: Path | None = None,
) -> dict[str, Any]:
    """A student file, an artifact folder or a teacher as plain values: bits, sizes, and layers, coverage or input.

    `backbone` and `teacher_input` are a teacher's. An artifact's probe is embedded here, or compared with the
    `embedding` in a text file (`compare_embedding`). Raises CheckpointError, IncompatibleArtifactError, SchemaError or
    ChecksumError for what is none of these or damaged, UsageError for a teacher's options beside anything else,
    ProbeError for another embedding than at export.
    """
    if model.is_dir():
        _refuse_teacher_options(model, backbone, teacher_input)
        return _inspect_artifact(model, embedding)
    from efq.toolchain.networks import network_kind

    if network_kind(model) == "student":
        from efq.export.inspection.student import inspect_student

        _refuse_teacher_options(model, backbone, teacher_input)
        return inspect_student(model)
    from efq.export.inspection.teacher import inspect_teacher

    return inspect_teacher(model, backbone, teacher_input)


def _refuse_teacher_options(model: Path, backbone: str | None, teacher_input: str | None) -> None:
    if backbone is not None or teacher_input is not None:
        message = f"expected a teacher beside --backbone or --teacher-input, found {model}: leave them out"
        raise UsageError(message)


def _inspect_artifact(path: Path, embedding: Path | None) -> dict[str, Any]:
    artifact = Artifact.open(path)
    manifest = artifact.manifest
    files = {
        file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(path.rglob("*")) if file.is_file()
    }
    coverage = {
        key: value
        for key, value in manifest.coverage.items()
        if key in ("convolutions", "matrix_products", "multiply_adds")
    }
    return {
        "artifact": manifest.name,
        "target": manifest.target,
        "bits": dict(manifest.bits),
        "recipe": manifest.recipe.get("name", "unnamed"),
        "backbone": manifest.backbone,
        "embedding_size": manifest.embedding_size,
        "input": manifest.input.to_dict(),
        "probe": compare_here(artifact) if embedding is None else compare_embedding(artifact, embedding),
        "licence": manifest.licence,
        "teacher": dict(manifest.teacher),
        "data": dict(manifest.data),
        "lineage": manifest.origin.to_dict(),
        "certificate": inspect_certificate(artifact),
        "coverage": coverage,
        "bytes": files,
    }
