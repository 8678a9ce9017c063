"""ONNX Runtime on the CPU: a float ONNX file, and what its own quantization tools make of one.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html: `quant_pre_process` first, then static
quantization in QDQ format with s8 per-channel weights (7-bit ones, `reduce_range`, on x86 processors without VNNI,
whose sums of products saturate) and min-max calibration, with u8 or s8 activations; or dynamic quantization, with u8
weights, as its convolution takes no s8 ones.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Peer, Preprocess, embed_in_batches
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate, teacher_spec
from efq.runtime.backends.onnxruntime import WAITING_OPTION
from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.errors import MissingDependencyError
from efq.runtime.files import temporary_folder

if TYPE_CHECKING:
    from efq.benchmarks.peers.float_teacher import FloatTeacher

_logger = logging.getLogger(__name__)


class OnnxRuntimeTool:
    """The float reference; static quantization with uint8 and int8 activations, and dynamic quantization."""

    name = "onnxruntime"

    def require(self) -> None:
        """Raise MissingDependencyError when the quantization tools lack a package."""
        _import_quantization()

    def reference(self, teacher: FloatTeacher) -> Candidate:
        """The float file itself."""
        return Candidate(
            spec=teacher_spec(teacher, teacher.name, self.name, teacher.path),
            opener=self,
            description="float teacher in ONNX Runtime, float32 file",
            is_float=True,
        )

    def candidates(self, teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path) -> Iterator[Candidate]:
        """Weights of the static ones have 7 bits where sums of products saturate."""
        for signed in (False, True):
            yield self._static(teacher, calibration, folder, signed=signed)
        path = quantize_onnxruntime_dynamic(teacher.path, folder / "dynamic.onnx")
        yield Candidate(
            spec=teacher_spec(teacher, "quantize_dynamic (ONNX Runtime)", self.name, path),
            opener=self,
            description="u8 weights, activations quantized as they come",
        )

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """Open a float or a quantized file."""
        return OnnxRuntimePeer(spec.name, Path(spec.path), spec.normalization, threads=threads)

    def _static(
        self, teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path, *, signed: bool
    ) -> Candidate:
        reduce_range = products_saturate()
        weights = "7-bit weights (products saturate here)" if reduce_range else "s8 weights"
        activations = "s8" if signed else "u8"
        name = f"quantize_static {activations} (ONNX Runtime)"
        _logger.info("%s: calibrating on %d faces", name, len(calibration))
        path = quantize_onnxruntime_static(
            teacher.path,
            folder / f"static_{activations}.onnx",
            calibration,
            teacher.normalization,
            signed=signed,
            reduce_range=reduce_range,
        )
        description = f"QDQ, {activations} activations, {weights} per channel, min-max over {len(calibration)} faces"
        return Candidate(spec=teacher_spec(teacher, name, self.name, path), opener=self, description=description)


class OnnxRuntimePeer:
    """An ONNX file with one float32 input (N, 3, H, W) and one output (N, d), on `threads` threads.

    All graph optimizations are on, as by default. Worker threads wait in a loop after a call for as long as those of an
    artifact: longer, they would take processor time from the network that is timed next.
    """

    def __init__(self, name: str, path: Path, preprocess: Preprocess, *, threads: int) -> None:
        onnxruntime = import_onnxruntime()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry(*WAITING_OPTION)
        self.name = name
        self.file_bytes = path.stat().st_size
        self.prepare = preprocess
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name

    def run(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        """One inference: float32 (N, 3, H, W) -> float32 (N, d)."""
        outputs: list[NDArray[np.float32]] = self._session.run(None, {self._input: prepared})
        return outputs[0]

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embeddings of uint8 images (N, H, W, 3) RGB: float32 (N, d), unit length."""
        return embed_in_batches(self, images)

    def close(self) -> None:
        """Nothing was started."""


def quantize_onnxruntime_static(
    float_model: Path,
    destination: Path,
    calibration: NDArray[np.uint8],
    preprocess: Preprocess,
    *,
    signed: bool = False,
    reduce_range: bool = False,
) -> Path:
    """Write `float_model`, quantized after training on `calibration` faces uint8 (N, H, W, 3), to `destination`.

    Activations are uint8, or int8 where `signed`.
    Raises MissingDependencyError when ONNX Runtime's quantization tools lack a package they need (onnx, sympy).
    """
    quantization, shape_inference = _import_quantization()
    with _quiet(), _prepared(float_model, shape_inference) as prepared:
        quantization.quantize_static(
            str(prepared),
            str(destination),
            _FaceReader(_input_name(float_model), calibration, preprocess),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=reduce_range,
            activation_type=quantization.QuantType.QInt8 if signed else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
    return destination


def quantize_onnxruntime_dynamic(float_model: Path, destination: Path) -> Path:
    """Write `float_model` with 8-bit weights, activations being quantized as they come, to `destination`.

    Raises MissingDependencyError as `quantize_onnxruntime_static` does.
    """
    quantization, shape_inference = _import_quantization()
    with _quiet(), _prepared(float_model, shape_inference) as prepared:
        quantization.quantize_dynamic(str(prepared), str(destination), weight_type=quantization.QuantType.QUInt8)
    return destination


@contextlib.contextmanager
def _prepared(float_model: Path, shape_inference: Any) -> Iterator[Path]:
    with temporary_folder("efq-peers") as folder:
        prepared = folder / "prepared.onnx"
        shape_inference.quant_pre_process(str(float_model), str(prepared))
        yield prepared


class _FaceReader:
    """Feeds one face at a time, as ONNX Runtime's `CalibrationDataReader` asks."""

    def __init__(self, name: str, faces: NDArray[np.uint8], preprocess: Preprocess) -> None:
        self._name = name
        self._batches = (preprocess(faces[index : index + 1]) for index in range(len(faces)))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        face = next(self._batches, None)
        return None if face is None else {self._name: face}


def _import_quantization() -> tuple[Any, Any]:
    try:
        import onnxruntime.quantization
        from onnxruntime.quantization import shape_inference
    except ImportError as error:
        message = f"ONNX Runtime's quantize_static needs {error.name}; install it with: pip install 'efq[train,peers]'"
        raise MissingDependencyError(message) from error
    return onnxruntime.quantization, shape_inference


def _input_name(model: Path) -> str:
    session = import_onnxruntime().InferenceSession(str(model), providers=["CPUExecutionProvider"])
    name: str = session.get_inputs()[0].name
    return name


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No warnings to the root logger: quantize_static gives its advice to pre-process even when that was done."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(previous)


TOOL = OnnxRuntimeTool()
