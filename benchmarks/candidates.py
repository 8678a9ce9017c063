"""The networks of a benchmark: the float teacher, artifacts, and what other tools make of the same teacher."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.float_teacher import FloatTeacher
from efq.benchmarks.peers.onnxruntime_quantized import quantize_onnxruntime_dynamic, quantize_onnxruntime_static
from efq.benchmarks.peers.openvino_nncf import (
    Preset,
    computes_bfloat16,
    convert_to_openvino,
    quantize_nncf,
    require_openvino_nncf,
)
from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.spec import Kind, PeerSpec, open_peer
from efq.runtime import Embedder, Manifest
from efq.runtime.backends.open import OWN_BACKEND, REDUCED_RANGE
from efq.runtime.console import log
from efq.runtime.errors import UsageError
from efq.runtime.tensorrt.module import PACKAGES as TENSORRT_TARGETS

NNCF_PRESETS: tuple[Preset, ...] = ("performance", "mixed")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A network to compare. `is_float`: it computes the teacher's own function.

    multiply_adds: those an artifact runs for one image, student: see `student_of`; None for others. engine: an engine
    on a GPU, open already.
    """

    spec: PeerSpec
    description: str
    is_float: bool = False
    multiply_adds: int | None = None
    student: str | None = None
    engine: Peer | None = None

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return self.spec.name

    @property
    def is_artifact(self) -> bool:
        """Whether it is ours: the others are what a user could take instead."""
        return self.spec.kind == "artifact"

    def open(self, threads: int) -> Peer:
        """Load it on `threads` threads; an engine runs on the GPU, whatever their number."""
        return open_peer(self.spec, threads) if self.engine is None else self.engine


def teacher_candidate(teacher: FloatTeacher) -> Candidate:
    """The reference of every ratio."""
    spec = _spec(teacher, teacher.name, "onnxruntime", teacher.path)
    return Candidate(spec=spec, description="float teacher in ONNX Runtime, float32 file", is_float=True)


def artifact_candidates(directory: Path, manifest: Manifest, *, name: str) -> list[Candidate]:
    """An artifact in the runtime it was exported for and, where another one serves it here, in that too.

    Which one serves it is asked for one thread. It is verified again each time it is opened.
    """
    own = OWN_BACKEND[manifest.target]
    with Embedder.open(directory, threads=1) as embedder:
        serving = embedder.backend
    found = [_artifact_candidate(directory, manifest, name=name, backend=own)]
    if serving != own:
        named = f"{name}, served by {serving}"
        found.append(_artifact_candidate(directory, manifest, name=named, backend=serving))
    return found


def _artifact_candidate(directory: Path, manifest: Manifest, *, name: str, backend: str) -> Candidate:
    bits = f"W{manifest.bits['weights']}A{manifest.bits['activations']}"
    counted = manifest.coverage.get("multiply_adds")
    if manifest.bits["weights"] < 7 or manifest.bits["activations"] < 8:
        bits += " (multiplied as 8 bits: size, not speed)"
    return Candidate(
        spec=PeerSpec(name=name, kind="artifact", path=str(directory), backend=backend),
        description=f"EFQ artifact, {bits}, target {manifest.target}, in {backend}",
        multiply_adds=counted["total"] if isinstance(counted, dict) else None,
        student=student_of(manifest),
    )


def student_of(manifest: Manifest) -> str:
    """A hash of what a student's artifacts have in common however exported: teacher, data, recipe with its training."""
    recipe = {key: value for key, value in manifest.recipe.items() if key not in ("requantized", REDUCED_RANGE)}
    facts = {"recipe": recipe, "teacher": dict(manifest.teacher), "data": dict(manifest.data)}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_cpu_targets(directories: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """Raises UsageError for an artifact whose target is not for CPUs."""
    alone = all(manifest.target not in OWN_BACKEND for manifest in manifests)
    for directory, manifest in zip(directories, manifests, strict=True):
        if manifest.target not in OWN_BACKEND:
            remedy = f"{'add' if alone else 'measure it in a run of its own with'} --target {manifest.target}"
            remedy = remedy if manifest.target in TENSORRT_TARGETS else "update efq"
            message = (
                f"expected artifacts for the CPU (target {' or '.join(OWN_BACKEND)}), found {directory} for the target "
                f"{manifest.target}; {remedy}"
            )
            raise UsageError(message)


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

    ONNX Runtime's static (uint8 and int8 activations) and dynamic quantization; OpenVINO in float32 and bfloat16, and
    NNCF's post-training INT8 with both of its presets; torch.compile in the same; bfloat16 where the CPU multiplies it.
    Raises MissingDependencyError when openvino or nncf is missing, before anything is computed.
    """
    require_openvino_nncf()
    candidates = list(_onnxruntime_candidates(teacher, calibration, folder, reduce_range=reduce_range))
    candidates += _openvino_float_candidates(teacher, folder)
    candidates += _nncf_candidates(teacher, calibration, folder)
    for precision in _float_precisions():
        name = f"torch.compile {precision}"
        spec = _spec(teacher, name, "torch", teacher.checkpoint, precision=precision)
        description = f"float teacher in torch.compile, {precision}, weights frozen, channels last"
        candidates.append(Candidate(spec=spec, description=description, is_float=True))
    return candidates


def _onnxruntime_candidates(
    teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path, *, reduce_range: bool
) -> Iterator[Candidate]:
    weights = "7-bit weights (products saturate here)" if reduce_range else "s8 weights"
    for signed in (False, True):
        activations = "s8" if signed else "u8"
        name = f"quantize_static {activations} (ONNX Runtime)"
        log(f"{name}: calibrating on {len(calibration)} faces")
        path = quantize_onnxruntime_static(
            teacher.path,
            folder / f"static_{activations}.onnx",
            calibration,
            teacher.preprocess,
            signed=signed,
            reduce_range=reduce_range,
        )
        yield Candidate(
            spec=_spec(teacher, name, "onnxruntime", path),
            description=f"QDQ, {activations} activations, {weights} per channel, min-max over {len(calibration)} faces",
        )
    path = quantize_onnxruntime_dynamic(teacher.path, folder / "dynamic.onnx")
    yield Candidate(
        spec=_spec(teacher, "quantize_dynamic (ONNX Runtime)", "onnxruntime", path),
        description="u8 weights, activations quantized as they come",
    )


def _float_precisions() -> tuple[str, ...]:
    """bfloat16 only where the CPU multiplies it: emulated it takes ten times as long as float32."""
    return ("float32", "bfloat16") if computes_bfloat16() else ("float32",)


def _openvino_float_candidates(teacher: FloatTeacher, folder: Path) -> Iterator[Candidate]:
    path = convert_to_openvino(teacher.path, folder / "float.xml")
    for precision in _float_precisions():
        yield Candidate(
            spec=_spec(teacher, f"{precision} (OpenVINO)", "openvino", path, precision=precision),
            description=f"float teacher in OpenVINO, inference precision {precision}",
            is_float=True,
        )


def _nncf_candidates(teacher: FloatTeacher, calibration: NDArray[np.uint8], folder: Path) -> Iterator[Candidate]:
    for preset in NNCF_PRESETS:
        name = f"NNCF INT8 {preset} (OpenVINO)"
        log(f"{name}: calibrating on {len(calibration)} faces")
        path = quantize_nncf(
            teacher.path, folder / f"nncf_{preset}.xml", calibration, teacher.preprocess, preset=preset
        )
        description = f"post-training quantization, preset {preset}, {len(calibration)} faces"
        yield Candidate(spec=_spec(teacher, name, "openvino", path), description=description)


def usable(candidates: Sequence[Candidate], threads: int, face: NDArray[np.uint8]) -> tuple[list[Candidate], list[str]]:
    """The candidates that embed `face` uint8 (1, H, W, 3), and a note on each of those that cannot, with the reason.

    Artifacts and the teacher have to: what they raise is raised.
    """
    kept, notes = [], []
    for candidate in candidates:
        required = candidate is candidates[0] or candidate.is_artifact
        try:
            _try(candidate, threads, face)
        except Exception as error:  # each tool has exceptions of its own; its reason belongs in the report
            if required:
                raise
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            notes.append(f"{candidate.name} could not be run: {lines[0] if lines else type(error).__name__}")
            log(notes[-1])
        else:
            kept.append(candidate)
    return kept, notes


def _try(candidate: Candidate, threads: int, face: NDArray[np.uint8]) -> None:
    peer = candidate.open(threads)
    try:
        peer.run(peer.prepare(face))
    finally:
        peer.close()


def _spec(teacher: FloatTeacher, name: str, kind: Kind, path: Path, *, precision: str | None = None) -> PeerSpec:
    """A float-input network, with the teacher's normalization."""
    return PeerSpec(
        name=name,
        kind=kind,
        path=str(path.resolve()),
        precision=precision,
        backbone=teacher.backbone,
        mean=teacher.preprocess.mean,
        std=teacher.preprocess.std,
    )
