"""What a student or an artifact consists of, as efq-inspect shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from efq.export.probe_check import compare_embedding, compare_here
from efq.runtime.artifact.folder import Artifact


def inspect(model: Path, embedding: Path | None = None) -> dict[str, Any]:
    """A student file or an artifact folder as plain values: bits, sizes, and layers or coverage.

    An artifact's probe is embedded here, or compared with the `embedding` in a text file (`compare_embedding`). Raises
    CheckpointError, IncompatibleArtifactError, SchemaError or ChecksumError for what is neither or damaged, ProbeError
    for another embedding than at export.
    """
    if model.is_dir():
        return _inspect_artifact(model, embedding)
    from efq.export.student_layers import inspect_student

    return inspect_student(model)


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
        "coverage": coverage,
        "bytes": files,
    }
