"""What every backend offers, and how those of the CPU spread a batch over threads."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import whole_number
from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import LARGEST_MODEL, Artifact
from efq.runtime.errors import DeviceError, EfqError, IncompatibleArtifactError
from efq.runtime.machine.cpu import usable_cores
from efq.runtime.reading import read_bytes

INPUT_NAME = "images"
OUTPUT_NAME = "embeddings"

# Activations of four faces of a small network still fit the caches; a large network reads its weights in every part.
SMALL_PART, LARGE_PART = 4, 8
_SMALL_MODEL_BYTES = 8 * 2**20

_NO_MEMORY = ("bad_alloc", "bad allocation", "failed to allocate memory", "out of memory", "cannot allocate memory")


class Model(Protocol):
    """A model loaded in a runtime; every method may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The runtime: "onnxruntime", "openvino", "tensorrt", or another's own."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props; empty where the runtime's form of the model carries none."""

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names, dtypes and shapes of input and output. Raises IncompatibleArtifactError."""

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3), N above zero, to embeddings float32 (N, d) of unit length, the caller's own."""

    def close(self) -> None:
        """Free what the model holds. Waits for calls that run; later ones raise UsageError. Again it does nothing."""


def model_of(artifact: Artifact, model: Model) -> Model:
    """`model`, once it is found to be that of `artifact`; otherwise it is closed.

    Raises SchemaError for metadata that do not say what the manifest says, IncompatibleArtifactError (EngineError) for
    another signature.
    """
    with contextlib.ExitStack() as refused:
        refused.callback(model.close)
        artifact.check_model_metadata(model.metadata)
        model.check_signature(artifact.manifest.input, artifact.manifest.embedding_size)
        refused.pop_all()
    return model


class Port(NamedTuple):
    """An input or output of a model: `shape` has an int for a fixed dimension, anything else for a free one."""

    name: str
    dtype: str
    shape: tuple[object, ...]


def part_size(model_bytes: int) -> int:
    """The most images that one thread computes at once with a model of that size (docs/performance.md)."""
    return SMALL_PART if model_bytes <= _SMALL_MODEL_BYTES else LARGE_PART


def read_model(path: Path) -> bytes:
    """The model file at `path`. Raises IncompatibleArtifactError when it cannot be read."""
    expected = "a model, as efq-export writes it,"
    return read_bytes(path, limit=LARGEST_MODEL, expected=expected, error_class=IncompatibleArtifactError)


def thread_count(threads: int | None) -> int:
    """`threads`, or the number of CPUs the process may run on for None. Raises UsageError for one below one."""
    return usable_cores() if threads is None else whole_number(threads, "at least one thread", least=1)


def runtime_failure(
    error: Exception, *, runtime: str, doing: str, place: object, remedy: str = "export the model again with efq-export"
) -> EfqError:
    """`error`, which `runtime` ("ONNX Runtime 1.32.0") raised while `doing` ("load") the model at `place`.

    DeviceError where memory was lacking, else IncompatibleArtifactError, with what to do, `remedy`.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = (lines[-1] if lines else type(error).__name__)[:500]
    expected = f"expected a model that {runtime} can {doing} at {place}, found: {reason}"
    if isinstance(error, MemoryError) or any(sign in str(error).lower() for sign in _NO_MEMORY):
        return DeviceError(f"{expected}: memory ran out; use fewer threads or smaller batches, or free some")
    return IncompatibleArtifactError(f"{expected}; {remedy}, or update {runtime}")


def check_port(kind: str, found: Sequence[Port], expected: Port, path: Path, *, batch: int | None = None) -> None:
    """Check the only `kind` ("input", "output") of a model: `expected.shape` is that of one image.

    The batch size must be `batch`, free for None. Raises IncompatibleArtifactError.
    """
    name, dtype, shape = expected
    fits = len(found) == 1 and found[0][:2] == (name, dtype) and found[0].shape[1:] == shape
    if not fits or (found[0].shape[0] if isinstance(found[0].shape[0], int) else None) != batch:
        described = ", ".join(f"{port.name} {port.dtype} {list(port.shape)}" for port in found)
        wanted = ["N" if batch is None else batch, *shape]
        message = (
            f"expected one {kind} {name} {dtype} {wanted} in {path}, found {described}; "
            "export the model again with efq-export"
        )
        raise IncompatibleArtifactError(message)
