"""The networks of a benchmark: the float teacher, artifacts, and what other tools make of the same teacher."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.float_teacher import FloatTeacher
from efq.benchmarks.peers.artifact import ArtifactPeer
from efq.benchmarks.peers.onnxruntime_float import OnnxRuntimePeer
from efq.benchmarks.peers.onnxruntime_static import quantize_onnxruntime_static
from efq.benchmarks.peers.openvino_nncf import (
    OpenVinoPeer,
    Preset,
    convert_to_openvino,
    quantize_nncf,
    require_openvino_nncf,
)
from efq.benchmarks.peers.peer import Peer
from efq.runtime import Manifest
from efq.runtime.console import log

NNCF_PRESETS: tuple[Preset, ...] = ("performance", "mixed")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A network to compare. `open(threads)` loads it; `is_float` says that it computes the teacher's own function."""

    name: str
    description: str
    open: Callable[[int], Peer]
    is_float: bool = False


def teacher_candidate(teacher: FloatTeacher) -> Candidate:
    """The reference of every ratio."""
    description = "float teacher in ONNX Runtime, float32 file"
    return Candidate(name=teacher.name, description=description, open=teacher.open, is_float=True)


def artifact_candidate(directory: Path, manifest: Manifest, *, name: str) -> Candidate:
    """An artifact; it is verified again each time it is opened."""
    bits = f"W{manifest.bits['weights']}A{manifest.bits['activations']}"
    if min(manifest.bits.values()) < 8:
        bits += " (multiplied as 8 bits: size, not speed)"
    return Candidate(
        name=name,
        description=f"EFQ artifact, {bits}, target {manifest.target}",
        open=lambda threads: ArtifactPeer(name, directory, threads=threads),
    )


def artifact_names(directories: Sequence[Path], manifests: Sequence[Manifest]) -> list[str]:
    """A distinct name for each artifact: the manifest's, or the folder's path where two are the same."""
    names = [manifest.name for manifest in manifests]
    return [
        name if names.count(name) == 1 else str(directory) for name, directory in zip(names, directories, strict=True)
    ]


def peer_candidates(
    teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path, *, reduce_range: bool
) -> list[Candidate]:
    """What other tools make of the teacher after calibration on uint8 faces (N, H, W, 3); files go into `folder`.

    ONNX Runtime's `quantize_static`, OpenVINO float32, and NNCF's post-training INT8 with both of its presets.
    Raises MissingDependencyError when openvino or nncf is missing, before anything is computed.
    """
    require_openvino_nncf()
    log(f"quantize_static (ONNX Runtime): calibrating on {len(calibration)} faces")
    static = quantize_onnxruntime_static(
        teacher.path, folder / "quantize_static.onnx", calibration, teacher.preprocess, reduce_range=reduce_range
    )
    converted = convert_to_openvino(teacher.path, folder / "float32.xml")
    candidates = [
        Candidate(
            name="quantize_static (ONNX Runtime)",
            description=f"QDQ, u8 activations, s8 per-channel weights, min-max over {len(calibration)} faces"
            + (", 7-bit weights (no VNNI)" if reduce_range else ""),
            open=functools.partial(_open_onnxruntime, "quantize_static (ONNX Runtime)", static, teacher),
        ),
        Candidate(
            name="float32 (OpenVINO)",
            description="float teacher in OpenVINO, inference precision f32",
            open=functools.partial(_open_openvino, "float32 (OpenVINO)", converted, teacher, "f32"),
            is_float=True,
        ),
    ]
    for preset in NNCF_PRESETS:
        name = f"NNCF INT8 {preset} (OpenVINO)"
        log(f"{name}: calibrating on {len(calibration)} faces")
        path = quantize_nncf(
            teacher.path, folder / f"nncf_{preset}.xml", calibration, teacher.preprocess, preset=preset
        )
        description = f"post-training quantization, preset {preset}, {len(calibration)} faces"
        opener = functools.partial(_open_openvino, name, path, teacher, None)
        candidates.append(Candidate(name=name, description=description, open=opener))
    return candidates


def _open_onnxruntime(name: str, path: Path, teacher: FloatTeacher, threads: int) -> Peer:
    return OnnxRuntimePeer(name, path, teacher.preprocess, threads=threads)


def _open_openvino(name: str, path: Path, teacher: FloatTeacher, precision: str | None, threads: int) -> Peer:
    return OpenVinoPeer(name, path, teacher.preprocess, threads=threads, precision=precision)
