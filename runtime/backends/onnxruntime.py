"""ONNX Runtime on the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from efq.runtime.contract import InputContract
from efq.runtime.errors import IncompatibleArtifactError, UsageError

if TYPE_CHECKING:
    import onnxruntime

INPUT_NAME = "images"
OUTPUT_NAME = "embeddings"

# Two sessions created at once register the process-wide logger and allocators at once.
_creation_lock = threading.Lock()


class OnnxRuntimeModel:
    """A model loaded in ONNX Runtime; `run` may be called from several threads at once."""

    def __init__(self, path: Path, *, threads: int | None) -> None:
        """Load the model at `path`; `threads` None uses every CPU the process may run on.

        Raises IncompatibleArtifactError when the file is no model that this ONNX Runtime can load,
        UsageError for a thread count below one.
        """
        self._path = path
        self._session = _create_session(path, threads if threads is not None else _available_cpus())

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's metadata_props."""
        return dict(self._session.get_modelmeta().custom_metadata_map)

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names, dtypes and shapes of the model's input and output; the batch size must be dynamic.

        Raises IncompatibleArtifactError.
        """
        shape = (contract.height, contract.width, 3)
        self._check_ports("input", self._session.get_inputs(), INPUT_NAME, f"tensor({contract.dtype})", shape)
        self._check_ports("output", self._session.get_outputs(), OUTPUT_NAME, "tensor(float)", (embedding_size,))

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3) to embeddings float32 (N, d)."""
        return np.asarray(self._session.run([OUTPUT_NAME], {INPUT_NAME: images})[0], np.float32)

    def _check_ports(
        self, kind: str, ports: Sequence[onnxruntime.NodeArg], name: str, dtype: str, shape: tuple[int, ...]
    ) -> None:
        found = [(port.name, port.type, tuple(port.shape)) for port in ports]
        fits = len(found) == 1 and found[0][:2] == (name, dtype) and found[0][2][1:] == shape
        if not fits or isinstance(found[0][2][0], int):
            described = ", ".join(f"{port} {kind_} {list(dims)}" for port, kind_, dims in found)
            message = (
                f"expected one {kind} {name} {dtype} {['N', *shape]} in {self._path}, found {described}; "
                "export the model again with efq-export"
            )
            raise IncompatibleArtifactError(message)


def _create_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    if threads < 1:
        message = f"expected at least one thread, found {threads}"
        raise UsageError(message)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Idle worker threads that spin take the CPU from the rest of a service.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Every failure is raised as well, so the log would only say it twice.
    options.log_severity_level = 4
    with _creation_lock:
        try:
            return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no other base class
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            message = (
                f"expected a model that ONNX Runtime {onnxruntime.__version__} can load at {path}, found: {reason}; "
                "export the model again with efq-export, or update onnxruntime"
            )
            raise IncompatibleArtifactError(message) from error


def _available_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
