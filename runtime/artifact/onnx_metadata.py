"""The metadata_props of an ONNX file, read without the onnx package or a runtime."""

from __future__ import annotations

from pathlib import Path

from efq.runtime.artifact.folder import LARGEST_MODEL
from efq.runtime.artifact.onnx_model import metadata_of
from efq.runtime.artifact.protobuf import DamagedMessageError
from efq.runtime.errors import IncompatibleArtifactError
from efq.runtime.reading import read_bytes


def read_onnx_metadata(path: Path) -> dict[str, str]:
    """Value by key. Raises IncompatibleArtifactError when the file cannot be read or is no ONNX model."""
    content = read_bytes(path, limit=LARGEST_MODEL, expected="an ONNX model", error_class=IncompatibleArtifactError)
    return onnx_metadata_of(content, path)


def onnx_metadata_of(content: bytes, path: Path) -> dict[str, str]:
    """Value by key of a model in memory, which came from `path`. Raises IncompatibleArtifactError when it is none."""
    try:
        return metadata_of(content)
    except DamagedMessageError as error:
        message = f"expected an ONNX model at {path}, found a file that is none ({error}); export it with efq-export"
        raise IncompatibleArtifactError(message) from error
