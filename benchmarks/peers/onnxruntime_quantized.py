"""ONNX Runtime's own post-training quantization of a float ONNX file, the way its documentation recommends for CPUs.

https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html: `quant_pre_process` first, then static
quantization in QDQ format with s8 per-channel weights (7-bit ones, `reduce_range`, on x86 processors without VNNI,
whose sums of products saturate) and min-max calibration, with u8 or s8 activations; or dynamic quantization, with u8
weights, as its convolution takes no s8 ones.
"""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Preprocess
from efq.runtime.backends.onnxruntime_module import import_onnxruntime
from efq.runtime.errors import MissingDependencyError


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
    with tempfile.TemporaryDirectory(prefix="efq-bench-") as folder:
        prepared = Path(folder) / "prepared.onnx"
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
