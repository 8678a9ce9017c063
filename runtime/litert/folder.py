"""The .tflite file in an artifact, and what binds it to the artifact's model.onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from efq.runtime.artifact.folder import CHECKSUMS_FILE, Artifact
from efq.runtime.errors import ChecksumError, SchemaError

LITERT_FILE = "model.tflite"

LITERT_KEY = "efq.litert_sha256"
"""Of model.onnx's metadata: the SHA-256 of the file, so that whoever names the one by its SHA-256 names both."""


def litert_content(artifact: Artifact, metadata: Mapping[str, str]) -> bytes:
    """The .tflite file of `artifact`, whose model.onnx has such `metadata`.

    Raises ChecksumError where it is missing or was changed, SchemaError for one that model.onnx does not name.
    """
    path = artifact.directory / LITERT_FILE
    if LITERT_FILE not in artifact.checksums:
        message = f"expected {path}, as {CHECKSUMS_FILE} lists it, found none; export the student again with efq-export"
        raise ChecksumError(message)
    content = artifact.read(LITERT_FILE)
    found, expected = hashlib.sha256(content).hexdigest(), metadata.get(LITERT_KEY)
    if found != expected:
        message = (
            f"expected the SHA-256 {expected} of {path}, as {LITERT_KEY} of {artifact.model_path} says, found {found}; "
            "export the student again with efq-export"
        )
        raise SchemaError(message)
    return content
