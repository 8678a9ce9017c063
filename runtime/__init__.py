"""Run an exported face network: aligned faces in, embeddings out.

Imports neither torch nor, before they are used, onnxruntime and OpenCV.
"""

from __future__ import annotations

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import Artifact
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.artifact.parity import EvaluationRecord, ParityRecord
from efq.runtime.embedder import Embedder
from efq.runtime.errors import (
    CheckpointError,
    ChecksumError,
    CoverageError,
    DeviceError,
    EfqError,
    EngineBuildError,
    EngineError,
    GateError,
    IncompatibleArtifactError,
    InputError,
    LintError,
    LoweringError,
    MissingDependencyError,
    ParityError,
    SchemaError,
    UnreadableImageError,
    UsageError,
)
from efq.runtime.faces.alignment import align

__all__ = [
    "Artifact",
    "CheckpointError",
    "ChecksumError",
    "CoverageError",
    "DeviceError",
    "EfqError",
    "Embedder",
    "EngineBuildError",
    "EngineError",
    "EvaluationRecord",
    "GateError",
    "IncompatibleArtifactError",
    "InputContract",
    "InputError",
    "LintError",
    "LoweringError",
    "Manifest",
    "MissingDependencyError",
    "ParityError",
    "ParityRecord",
    "SchemaError",
    "UnreadableImageError",
    "UsageError",
    "align",
]
