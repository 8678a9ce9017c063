"""What every backend offers, and how those of the CPU spread a batch over threads."""

from __future__ import annotations

import contextlib
import os
import queue
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.folder import Artifact
from efq.runtime.errors import IncompatibleArtifactError, UsageError
from efq.runtime.machine.cpu import usable_cores

INPUT_NAME = "images"
OUTPUT_NAME = "embeddings"

# Activations of four faces of a small network still fit the caches; a large network reads its weights in every part.
SMALL_PART, LARGE_PART = 4, 8
_SMALL_MODEL_BYTES = 8 * 2**20


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


RunPart = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


class Workers:
    """Runs the parts of a batch on `threads` threads, each part in one thread.

    Splitting by image needs no synchronization within the network, so it scales where threads that share every layer
    wait for each other. The same batch is always split alike, whatever else runs. Each thread is bound to one of
    `cpus`, as far as they go. The threads end with `close`, or with the last reference.
    """

    def __init__(self, threads: int, *, part_size: int, cpus: Sequence[int] = ()) -> None:
        self._threads = threads
        self._part_size = part_size
        self._pool = None
        if threads > 1:
            free: queue.SimpleQueue[int] = queue.SimpleQueue()
            for cpu in cpus:
                free.put(cpu)
            # The threads hold what they are given, so it must not be this object, which ends them.
            self._pool = ThreadPoolExecutor(threads, thread_name_prefix="efq", initializer=_bind, initargs=(free,))

    def run(self, images: NDArray[np.uint8], run_part: RunPart) -> NDArray[np.float32]:
        """`run_part` on parts of at most `part_size` images, joined in their order."""
        size = min(self._part_size, -(-len(images) // self._threads))
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        if self._pool is None or len(parts) == 1:
            return np.concatenate([run_part(part) for part in parts])
        return np.concatenate(_run_in(self._pool, parts, run_part))

    def close(self) -> None:
        """End the threads, after what they are at."""
        if self._pool is not None:
            self._pool.shutdown()


def _run_in(
    pool: ThreadPoolExecutor, parts: Sequence[NDArray[np.uint8]], run_part: RunPart
) -> list[NDArray[np.float32]]:
    """Each part in a thread of the pool, or in this one where the pool has none to give.

    That is so at the interpreter's end, after a signal handler closed the pool, and where no more threads can be made.
    """
    pending: list[Future[NDArray[np.float32]]] = []
    try:
        with contextlib.suppress(RuntimeError):
            for part in parts:
                pending.append(pool.submit(run_part, part))
        done = [future.result() for future in pending]
    finally:
        for future in pending:
            future.cancel()
    return done + [run_part(part) for part in parts[len(done) :]]


def _bind(free: queue.SimpleQueue[int]) -> None:
    """Bind the calling thread to one of the `free` CPUs."""
    with contextlib.suppress(queue.Empty, OSError):  # the process' CPUs may have been taken away meanwhile
        os.sched_setaffinity(0, {free.get_nowait()})


def part_size(model_bytes: int) -> int:
    """The most images that one thread computes at once with a model of that size (docs/performance.md)."""
    return SMALL_PART if model_bytes <= _SMALL_MODEL_BYTES else LARGE_PART


def read_model(path: Path) -> bytes:
    """The model file at `path`. Raises IncompatibleArtifactError when it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"expected a model at {path}, found: {error.strerror or error}; export it with efq-export"
        raise IncompatibleArtifactError(message) from error


def thread_count(threads: int | None) -> int:
    """`threads`, or the number of CPUs the process may run on for None. Raises UsageError for one below one."""
    if threads is not None and threads < 1:
        message = f"expected at least one thread, found {threads}"
        raise UsageError(message)
    return usable_cores() if threads is None else threads


def check_port(kind: str, found: Sequence[Port], expected: Port, path: Path) -> None:
    """Check the only `kind` ("input", "output") of a model: `expected.shape` is that of one image.

    The batch size must be free. Raises IncompatibleArtifactError.
    """
    name, dtype, shape = expected
    fits = len(found) == 1 and found[0][:2] == (name, dtype) and found[0].shape[1:] == shape
    if not fits or isinstance(found[0].shape[0], int):
        described = ", ".join(f"{port.name} {port.dtype} {list(port.shape)}" for port in found)
        message = (
            f"expected one {kind} {name} {dtype} {['N', *shape]} in {path}, found {described}; "
            "export the model again with efq-export"
        )
        raise IncompatibleArtifactError(message)
