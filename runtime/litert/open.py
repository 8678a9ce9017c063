"""Open an artifact of the target litert: its .tflite file in LiteRT."""

from __future__ import annotations

from efq.runtime.artifact.folder import Artifact
from efq.runtime.artifact.onnx_metadata import onnx_metadata_of
from efq.runtime.backends.model import Model, model_of
from efq.runtime.backends.open import check_options
from efq.runtime.backends.target import OpenOptions, Target
from efq.runtime.litert.folder import LITERT_FILE, litert_content
from efq.runtime.litert.model import LiteRtModel


def open_litert(target: Target, artifact: Artifact, options: OpenOptions) -> Model:
    """The artifact's .tflite file, loaded in LiteRT.

    Raises UsageError for another backend, a wrong thread count or tolerance, ChecksumError or SchemaError for a file
    that is not the artifact's, IncompatibleArtifactError for one that is none of EFQ's or cannot be loaded,
    MissingDependencyError without LiteRT.
    """
    check_options(target, artifact, options)
    content = artifact.model_bytes()
    target.check_model(content, artifact.model_path)
    metadata = onnx_metadata_of(content, artifact.model_path)
    path = artifact.directory / LITERT_FILE
    file = litert_content(artifact, metadata)
    return model_of(artifact, LiteRtModel(path, threads=options.threads, content=file, metadata=metadata))
