"""The network of a detector behind one interface, and that of ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from efq.runtime.backends.model import runtime_failure, thread_count
from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.backends.threads.lifetime import Lifetime
from efq.runtime.detection.family import Shape, Signature
from efq.runtime.machine.forks import loading

if TYPE_CHECKING:
    import onnxruntime


_REMEDY = "use a file that takes one image of floats"


class DetectorNetwork(Protocol):
    """A loaded detector: floats in and out, whatever it computes in. Calls may come from several threads at once."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Images (1, 3, H, W), as the detector's family feeds them, to the outputs by name."""

    def close(self) -> None:
        """Free what it holds. Waits for calls that run; later ones raise UsageError. Again it does nothing."""


class OnnxDetectorNetwork:
    """A float detector in ONNX Runtime on the CPU."""

    def __init__(self, content: bytes, path: Path, *, threads: int | None) -> None:
        """Load `content`, which came from `path`; `threads` None uses every usable CPU.

        Raises IncompatibleArtifactError for what ONNX Runtime cannot load, MissingDependencyError without it.
        """
        self._path = path
        self._version = import_onnxruntime().__version__
        self._lifetime = Lifetime(_create_session(content, path, thread_count(threads)))

    @property
    def signature(self) -> Signature:
        """As ONNX Runtime infers it."""
        with self._lifetime.call():
            session = self._lifetime.held()
            return Signature(inputs=_shapes(session.get_inputs()), outputs=_shapes(session.get_outputs()))

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """As `DetectorNetwork.run`. Raises IncompatibleArtifactError for images that the network cannot take."""
        with self._lifetime.call():
            session = self._lifetime.held()
            names = [output.name for output in session.get_outputs()]
            try:
                outputs = session.run(names, {session.get_inputs()[0].name: images})
            except Exception as error:  # ONNX Runtime's exceptions share no other base class
                runtime = f"ONNX Runtime {self._version}"
                raise runtime_failure(error, runtime=runtime, doing="run", place=self._path, remedy=_REMEDY) from error
            return {name: np.asarray(output, np.float32) for name, output in zip(names, outputs, strict=True)}

    def close(self) -> None:
        """Free the session."""
        self._lifetime.close()


def _create_session(content: bytes, path: Path, threads: int) -> onnxruntime.InferenceSession:
    module = import_onnxruntime()
    options = module.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # every failure is raised as well
    with loading:
        try:
            session: onnxruntime.InferenceSession = module.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no other base class
            runtime = f"ONNX Runtime {module.__version__}"
            raise runtime_failure(error, runtime=runtime, doing="load", place=path, remedy=_REMEDY) from error
    return session


def _shapes(ports: Sequence[Any]) -> Mapping[str, Shape]:
    return {
        port.name: tuple(side if isinstance(side, int) and side > 0 else str(side) for side in port.shape)
        for port in ports
    }
