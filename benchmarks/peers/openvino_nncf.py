"""OpenVINO on the CPU: the float32 network, and NNCF's post-training INT8 of it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.peer import Preprocess, embed_in_batches
from efq.runtime.errors import MissingDependencyError

CALIBRATION_FACES = 300

Preset = Literal["performance", "mixed"]


class OpenVinoPeer:
    """An ONNX or OpenVINO IR file with one float32 input (N, 3, H, W), on `threads` threads, latency hint.

    The network is compiled for the batch size it is called with, OpenVINO's fastest way. `precision` "f32" keeps float
    layers in float32, where OpenVINO would otherwise choose bfloat16 on processors that have it; None leaves the
    choice to OpenVINO.
    """

    def __init__(
        self, name: str, path: Path, preprocess: Preprocess, *, threads: int, precision: str | None = None
    ) -> None:
        self._openvino = _import_openvino()
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
    openvino = _import_openvino()
    openvino.save_model(openvino.Core().read_model(str(float_model)), str(destination), compress_to_fp16=False)
    return destination


def quantize_nncf(
    float_model: Path,
    destination: Path,
    calibration: NDArray[np.uint8],
    preprocess: Preprocess,
    *,
    preset: Preset = "performance",
) -> Path:
    """Write NNCF's post-training INT8 network (OpenVINO IR, `destination`.xml and .bin beside it).

    `calibration`: uint8 faces (N, H, W, 3), all of them used. `preset` "performance" is NNCF's default (symmetric
    activations), "mixed" has asymmetric activations. Raises MissingDependencyError without openvino or nncf.
    """
    openvino = _import_openvino()
    nncf = _import_nncf()
    presets = {"performance": nncf.QuantizationPreset.PERFORMANCE, "mixed": nncf.QuantizationPreset.MIXED}
    faces = nncf.Dataset(range(len(calibration)), lambda index: preprocess(calibration[index : index + 1]))
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar goes to stdout
        model = nncf.quantize(
            openvino.Core().read_model(str(float_model)),
            faces,
            preset=presets[preset],
            subset_size=len(calibration),
        )
    openvino.save_model(model, str(destination), compress_to_fp16=False)
    return destination


def computes_bfloat16() -> bool:
    """Whether OpenVINO has bfloat16 kernels for this CPU."""
    return "BF16" in _import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def require_openvino_nncf() -> None:
    """Raise MissingDependencyError unless openvino and nncf are installed."""
    _import_openvino()
    _import_nncf()


def _import_openvino() -> Any:
    try:
        import openvino
    except ImportError as error:
        missing = "openvino"
        raise _missing(missing) from error
    return openvino


def _import_nncf() -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # NNCF's own switch against sending usage data
    try:
        import nncf
    except ImportError as error:
        missing = "nncf"
        raise _missing(missing) from error
    nncf.set_log_level(logging.WARNING)
    return nncf


def _missing(package: str) -> MissingDependencyError:
    return MissingDependencyError(f"this comparison needs {package}; install it with: pip install 'efq[peers]'")


def _weights_bytes(path: Path) -> int:
    weights = path.with_suffix(".bin")
    return weights.stat().st_size if path.suffix == ".xml" and weights.is_file() else 0
