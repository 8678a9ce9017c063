"""Run an exported face network: aligned faces in, embeddings out.

Imports neither torch nor, before they are used, onnxruntime and OpenCV.
"""

from __future__ import annotations

from efq.runtime.alignment import align
from efq.runtime.contract import InputContract
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
from efq.runtime.manifest import Manifest

__all__ = [
    "CheckpointError",
    "ChecksumError",
    "CoverageError",
    "DeviceError",
    "EfqError",
    "Embedder",
    "EngineBuildError",
    "EngineError",
    "GateError",
    "IncompatibleArtifactError",
    "InputContract",
    "InputError",
    "LintError",
    "LoweringError",
    "Manifest",
    "MissingDependencyError",
    "ParityError",
    "SchemaError",
    "UnreadableImageError",
    "UsageError",
    "align",
]
