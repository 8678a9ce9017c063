"""NNCF's post-training INT8 of the float network, run by OpenVINO on the CPU."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers import openvino
from efq.benchmarks.peers.openvino import load_openvino, missing_package
from efq.benchmarks.peers.peer import Peer, Preprocess
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate, teacher_spec

if TYPE_CHECKING:
    from efq.benchmarks.peers.float_teacher import FloatTeacher

Preset = Literal["performance", "mixed"]

PRESETS: tuple[Preset, ...] = ("performance", "mixed")

_logger = logging.getLogger(__name__)


class NncfTool:
    """Post-training quantization with each of PRESETS."""

    name = "nncf"

    def require(self) -> None:
        """Raise MissingDependencyError unless openvino and nncf are installed."""
        load_openvino()
        _import_nncf()

    def candidates(self, teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path) -> Iterator[Candidate]:
        """All faces of the calibration are used."""
        for preset in PRESETS:
            name = f"NNCF INT8 {preset} (OpenVINO)"
            _logger.info("%s: calibrating on %d faces", name, len(calibration))
            path = quantize_nncf(
                teacher.path, folder / f"nncf_{preset}.xml", calibration, teacher.normalization, preset=preset
            )
            yield Candidate(
                spec=teacher_spec(teacher, name, self.name, path),
                opener=self,
                description=f"post-training quantization, preset {preset}, {len(calibration)} faces",
            )

    def open(self, spec: PeerSpec, threads: int) -> Peer:
        """Open a quantized OpenVINO IR file, which needs OpenVINO alone."""
        return openvino.TOOL.open(spec, threads)


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
    runtime = load_openvino()
    nncf = _import_nncf()
    presets = {"performance": nncf.QuantizationPreset.PERFORMANCE, "mixed": nncf.QuantizationPreset.MIXED}
    faces = nncf.Dataset(range(len(calibration)), lambda index: preprocess(calibration[index : index + 1]))
    with contextlib.redirect_stdout(sys.stderr):  # its progress bar goes to stdout
        model = nncf.quantize(
            runtime.Core().read_model(str(float_model)),
            faces,
            preset=presets[preset],
            subset_size=len(calibration),
        )
    runtime.save_model(model, str(destination), compress_to_fp16=False)
    return destination


def _import_nncf() -> Any:
    os.environ.setdefault("NNCF_CI", "1")  # NNCF's own switch against sending usage data
    try:
        import nncf
    except ImportError as error:
        missing = "nncf"
        raise missing_package(missing) from error
    nncf.set_log_level(logging.WARNING)
    return nncf


TOOL = NncfTool()
