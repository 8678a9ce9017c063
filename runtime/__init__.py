"""Run an exported face network: photos or aligned faces in, embeddings out.

Each name is imported when it is first used: a command has its signals in hand before that. Imports neither torch nor,
before they are used, onnxruntime and OpenCV.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from efq.runtime.lazy_names import lazy_names

if TYPE_CHECKING:
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
        ProbeError,
        SchemaError,
        ServerError,
        UnreadableImageError,
        UsageError,
    )
    from efq.runtime.faces.aligner import Aligner
    from efq.runtime.faces.alignment import align
    from efq.runtime.faces.images import decode_image, read_image
    from efq.runtime.faces.interface import Interface
    from efq.runtime.gallery.stores.open import open_gallery
    from efq.runtime.open_inference.embedder import RemoteEmbedder
    from efq.runtime.probe.probe import Probe

__all__ = [
    "Aligner",
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
    "Interface",
    "LintError",
    "LoweringError",
    "Manifest",
    "MissingDependencyError",
    "ParityError",
    "ParityRecord",
    "Probe",
    "ProbeError",
    "RemoteEmbedder",
    "SchemaError",
    "ServerError",
    "UnreadableImageError",
    "UsageError",
    "align",
    "decode_image",
    "open_gallery",
    "read_image",
]

_HOMES = {
    "Aligner": "faces.aligner",
    "Artifact": "artifact.folder",
    "Embedder": "embedder",
    "EvaluationRecord": "artifact.parity",
    "InputContract": "artifact.contract",
    "Interface": "faces.interface",
    "Manifest": "artifact.manifest",
    "ParityRecord": "artifact.parity",
    "Probe": "probe.probe",
    "RemoteEmbedder": "open_inference.embedder",
    "align": "faces.alignment",
    "decode_image": "faces.images",
    "open_gallery": "gallery.stores.open",
    "read_image": "faces.images",
}

__getattr__, __dir__ = lazy_names(__name__, {name: _HOMES.get(name, "errors") for name in __all__})
