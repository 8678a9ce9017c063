"""OpenVINO on the CPU: the float network in float32, and in bfloat16 where the CPU multiplies it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer, Preprocess, embed_in_batches
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate, teacher_spec
from efq.runtime.backends.openvino_core import import_openvino
from efq.runtime.errors import MissingDependencyError

if TYPE_CHECKING:
    from efq.benchmarks.peers.float_teacher import FloatTeacher

_HINTS = {"float32": "f32", "bfloat16": "bf16", None: None}


class OpenVinoTool:
    """The float teacher in each precision that `float_precisions` names."""

    name = "openvino"

    def require(self) -> None:
        """Raise MissingDependencyError unless openvino is installed."""
        load_openvino()

    def candidates(self, teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path) -> Iterator[Candidate]:
        """One file for all precisions; nothing is calibrated."""
        path = convert_to_openvino(teacher.path, folder / "float.xml")
        for precision in float_precisions():
            yield Candidate(
                spec=teacher_spec(teacher, f"{precision} (OpenVINO)", self.name, path, precision=precision),
                opener=self,
                description=f"float teacher in OpenVINO, inference precision {precision}",
                is_float=True,
            )

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """Open an ONNX or OpenVINO IR file."""
        hint = _HINTS[spec.precision]
        return OpenVinoPeer(spec.name, Path(spec.path), spec.normalization, threads=threads, precision=hint)


class OpenVinoPeer:
    """An ONNX or OpenVINO IR file with one float32 input (N, 3, H, W), on `threads` threads, latency hint.

    The network is compiled for the batch size it is called with, OpenVINO's fastest way. `precision` "f32" keeps float
    layers in float32, where OpenVINO would otherwise choose bfloat16 on processors that have it; None leaves the
    choice to OpenVINO.
    """

    def __init__(
        self, name: str, path: Path, preprocess: Preprocess, *, threads: int, precision: str | None = None
    ) -> None:
        self._openvino = load_openvino()
        self.name = name
        self.file_bytes = path.stat().st_size + _weights_bytes(path)
        self.prepare = preprocess
        self._path = path
        self._options: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if precision is not None:
            self._options["INFERENCE_PRECISION_HINT"] = precision
        self._core = self._openvino.Core()
        self._requests: dict[tuple[int, ...], Any] = {}

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """One inference: float32 (N, 3, H, W) -> float32 (N, d)."""
        request = self._requests.get(prepared.shape)
        if request is None:
            request = self._requests[prepared.shape] = self._compile(prepared.shape)
        request.infer([prepared], share_inputs=True)
        return np.array(request.get_output_tensor(0).data, np.float32)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length."""
        return embed_in_batches(self, images)

    def close(self) -> None:
        """Nothing was started."""

    def _compile(self, shape: tuple[int, ...]) -> Any:
        model = self._core.read_model(str(self._path))
        model.reshape(list(shape))
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()


def convert_to_openvino(float_model: Path, destination: Path) -> Path:
    """Write a float ONNX file as OpenVINO IR (`destination`.xml and .bin beside it), weights kept in float32."""
    openvino = load_openvino()
    openvino.save_model(openvino.Core().read_model(str(float_model)), str(destination), compress_to_fp16=False)
    return destination


def float_precisions() -> tuple[str, ...]:
    """bfloat16 only where the CPU multiplies it: emulated it takes ten times as long as float32."""
    return ("float32", "bfloat16") if computes_bfloat16() else ("float32",)


def computes_bfloat16() -> bool:
    """Whether OpenVINO has bfloat16 kernels for this CPU."""
    return "BF16" in load_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def load_openvino() -> Any:
    """The module. Raises MissingDependencyError when it is not installed."""
    try:
        return import_openvino()
    except MissingDependencyError as error:
        missing = "openvino"
        raise missing_package(missing) from error


def missing_package(package: str) -> MissingDependencyError:
    """What to raise when a package of the extra `peers` is not installed."""
    return MissingDependencyError(f"this comparison needs {package}; install it with: pip install 'efq[peers]'")


def _weights_bytes(path: Path) -> int:
    weights = path.with_suffix(".bin")
    return weights.stat().st_size if path.suffix == ".xml" and weights.is_file() else 0


TOOL = OpenVinoTool()
