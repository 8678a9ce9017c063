"""One benchmark from start to end: open the networks, time them, compare their embeddings."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from efq.benchmarks.accuracy.parity import Comparison, compare
from efq.benchmarks.candidates import (
    artifact_candidates,
    artifact_names,
    check_cpu_targets,
    peer_candidates,
    usable,
)
from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.engines.engine_bench import EngineBench
from efq.benchmarks.engines.gpu_target import GpuTarget
from efq.benchmarks.measured import embed_all, measure_candidates
from efq.benchmarks.peers import onnxruntime
from efq.benchmarks.peers.float_teacher import FloatTeacher, export_teacher
from efq.benchmarks.peers.registry import peer_tools
from efq.benchmarks.peers.tool import Candidate
from efq.benchmarks.report.results import BenchResults, NetworkRecord
from efq.benchmarks.timing.footprint import Footprint, measure_footprints
from efq.benchmarks.timing.int8_floor import Int8Floor, measure_floor
from efq.benchmarks.timing.machine import Machine, busy_cores, describe_machine
from efq.benchmarks.timing.scaling import Scaling, measure_scaling
from efq.export.reduced_range import as_exported
from efq.export.references.integer import IntegerReference
from efq.runtime import Manifest, UsageError
from efq.runtime.artifact.folder import Artifact
from efq.runtime.files import sha256_file
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.faces import open_faces
from efq.toolchain.evaluation import EvaluationFaces, check_unseen, open_evaluation_faces
from efq.toolchain.evaluation.embed import Embed
from efq.toolchain.networks import open_network, torch_embedding
from efq.toolchain.student import load_student

CALIBRATION_FACES = 300

_BUSY_CORES = 0.2
_SCALING_SHARE = 10  # of a setting's time, for one network instead of all

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to benchmark.

    artifacts: their folders. teacher: float checkpoint, of `backbone` or the one its keys fit. students: the torch
    student of each artifact, in the same order, or none. faces, listing: the faces to compare all pairs of, or none to
    measure latency only. pairs: pairs files with paths relative to `faces`. calibration: listing of the faces the
    peers are calibrated on. batches, threads: every combination is timed, for `rounds` rounds or `seconds` seconds.
    peers: also what other tools make of the teacher; tools: by name, all of them unless given.
    gpu: compare engines on a GPU instead, one thread, without `peers` and `students`.
    title: of the report.
    Raises UsageError for what does not fit together.
    """

    artifacts: tuple[Path, ...]
    teacher: Path
    backbone: str | None = None
    students: tuple[Path, ...] = ()
    faces: Path | None = None
    listing: Path | None = None
    pairs: tuple[Path, ...] = ()
    calibration: Path | None = None
    batches: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = (1,)
    peers: bool = False
    tools: tuple[str, ...] = ()
    gpu: GpuTarget | None = None
    rounds: int = 200
    seconds: float = 60.0
    title: str = "Benchmark"
    command: str = "efq-bench"

    def __post_init__(self) -> None:
        if self.students and len(self.students) != len(self.artifacts):
            message = (
                f"expected no --student or one for each artifact, in their order; "
                f"found {len(self.students)} for {len(self.artifacts)} artifacts"
            )
            raise UsageError(message)
        if self.faces is None and (self.listing or self.pairs or self.calibration or self.students):
            message = "expected --faces DIR with --list, --pairs, --calibration-list or --student, found none; add it"
            raise UsageError(message)
        if self.tools and not self.peers:
            message = "expected peers with the names of their tools, found none; set peers as well"
            raise UsageError(message)
        if self.gpu is not None and (self.peers or self.students or self.threads != (1,)):
            message = "expected no --peers, --student or --threads with --target: engines are timed from one thread"
            raise UsageError(message)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A finished benchmark: `results` for the report, `comparison` for its plots, `names` of the artifacts in order.

    `student_names` holds the torch students' names, in the order of the artifacts, or nothing. `faces_sha256` is one
    hash over the compared faces.
    """

    results: BenchResults
    comparison: Comparison | None
    names: tuple[str, ...]
    student_names: tuple[str, ...]
    faces_sha256: str | None


def run_bench(config: BenchConfig, *, progress: ShowProgress = no_progress) -> Bench:
    """Run a benchmark; `progress` shows the decoding and embedding of faces.

    Raises what opening networks and faces raises, UsageError for artifacts of a target for GPUs without `gpu`, and
    MissingDependencyError for absent peers.
    """
    machine = describe_machine()
    manifests = [Artifact.open(directory).manifest for directory in config.artifacts]
    if config.gpu is None:
        check_cpu_targets(config.artifacts, manifests)
    names = artifact_names(config.artifacts, manifests)
    engines = _engines(config, manifests, names)
    faces = _open_faces(config, manifests[0], progress)
    students = _open_students(config, manifests, names)
    notes = _notes(config, machine, manifests, names, faces)
    images = drawn_faces() if faces is None else faces.faces.images
    with tempfile.TemporaryDirectory(prefix="efq-bench-") as folder, engines or contextlib.nullcontext():
        teacher = _export_teacher(config, manifests[0], Path(folder))
        if engines is None:
            candidates = _cpu_candidates(config, manifests, names, teacher)
        else:
            candidates = engines.candidates(teacher, config.teacher.stem, Path(folder))
        if config.peers:
            calibration, note = _calibration(config, images, progress)
            candidates += peer_candidates(peer_tools(config.tools), teacher, calibration, Path(folder))
            candidates, failures = usable(candidates, config.threads[0], images[:1])
            notes += [note, *failures]
        footprints, floor = _measure_processes(candidates) if config.peers else ((), None)
        busy_before = busy_cores()
        measured = measure_candidates(
            candidates,
            images,
            faces,
            batches=config.batches,
            threads=config.threads,
            rounds=config.rounds,
            seconds=config.seconds,
            progress=progress,
        )
        scaling = _measure_scaling(candidates, images, config)
        notes += _other_work(busy_before, busy_cores())
        gpu = None if engines is None else engines.measure(images, rounds=config.rounds, seconds=config.seconds)
        comparison = None
        if faces is not None:
            simulations = _open_simulations(config, names)
            comparison = _compare(
                measured.embeddings,
                [(students, names), (simulations, names)],
                faces,
                reference=candidates[0].name,
                progress=progress,
            )
    results = BenchResults(
        title=config.title,
        command=config.command,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=machine,
        reference=candidates[0].name,
        faces=_describe(faces, config),
        networks=_records(candidates, measured.file_bytes),
        latency=measured.latency,
        scaling=scaling,
        accuracy=None if comparison is None else comparison.results,
        footprints=footprints,
        floor=floor,
        notes=tuple(notes),
        gpu=gpu,
    )
    return Bench(
        results=results,
        comparison=None if comparison is None else _without_float(comparison, candidates),
        names=tuple(names),
        student_names=tuple(students),
        faces_sha256=None if faces is None else faces.faces.sha256,
    )


def _engines(config: BenchConfig, manifests: Sequence[Manifest], names: Sequence[str]) -> EngineBench | None:
    """The engines to compare, where `config` names a GPU."""
    if config.gpu is None:
        return None
    return EngineBench(config.gpu, dict(zip(names, config.artifacts, strict=True)), manifests, config.batches)


def _open_faces(config: BenchConfig, manifest: Manifest, progress: ShowProgress) -> EvaluationFaces | None:
    if config.faces is None:
        return None
    faces = open_evaluation_faces(
        config.faces,
        listing=config.listing,
        pairs_files=config.pairs,
        contract=manifest.input,
        progress=progress,
    )
    for path in (*config.artifacts, *config.students):
        with open_network(path, device="cpu", threads=1) as network:
            seen = network.training_hashes
        check_unseen(faces.faces, path, seen, remedy="give other faces (--faces, --list, --pairs)")
    return faces


def _open_students(config: BenchConfig, manifests: Sequence[Manifest], names: Sequence[str]) -> dict[str, Embed]:
    """The torch students, computed with their integers as the artifacts compute them."""
    device = torch.device("cpu")
    return {
        f"{name} (torch student)": torch_embedding(IntegerReference(as_exported(load_student(path), manifest)), device)
        for name, manifest, path in zip(names, manifests, config.students, strict=False)
    }


def _open_simulations(config: BenchConfig, names: Sequence[str]) -> dict[str, Embed]:
    """The torch students as they were trained: integers simulated in float32."""
    threads = max(config.threads)
    return {
        f"{name} (torch, fake quantization)": open_network(path, threads=threads).embed
        for name, path in zip(names, config.students, strict=False)
    }


def _export_teacher(config: BenchConfig, manifest: Manifest, folder: Path) -> FloatTeacher:
    name = f"{config.teacher.stem} float32 (ONNX Runtime)"
    return export_teacher(
        config.teacher, folder / "teacher.onnx", name=name, backbone=config.backbone, contract=manifest.input
    )


def _cpu_candidates(
    config: BenchConfig, manifests: Sequence[Manifest], names: Sequence[str], teacher: FloatTeacher
) -> list[Candidate]:
    """The reference of every ratio, and the artifacts."""
    candidates = [onnxruntime.TOOL.reference(teacher)]
    for directory, manifest, name in zip(config.artifacts, manifests, names, strict=True):
        candidates += artifact_candidates(directory, manifest, name=name)
    return candidates


def _calibration(
    config: BenchConfig, images: NDArray[np.uint8], progress: ShowProgress
) -> tuple[NDArray[np.uint8], str]:
    """The faces the peers are calibrated on, and a note that says which they are."""
    if config.calibration is not None and config.faces is not None:
        chosen = open_faces(config.faces, listing=config.calibration, max_images=CALIBRATION_FACES, progress=progress)
        return np.asarray(chosen.images), f"Peers calibrated on {len(chosen)} faces of {config.calibration.name}."
    order = np.random.default_rng(0).permutation(len(images))[:CALIBRATION_FACES]
    if config.faces is None:
        return images[np.sort(order)], f"Peers calibrated on {len(order)} drawn faces: good for timing only."
    note = f"Peers calibrated on {len(order)} of the compared faces themselves, which favours them."
    return images[np.sort(order)], note


def _measure_processes(candidates: Sequence[Candidate]) -> tuple[tuple[Footprint, ...], Int8Floor]:
    _logger.info("memory and start-up, each network in fresh processes")
    return tuple(measure_footprints([candidate.spec for candidate in candidates])), measure_floor()


def _measure_scaling(
    candidates: Sequence[Candidate], images: NDArray[np.uint8], config: BenchConfig
) -> tuple[Scaling, ...]:
    """What more threads bring the reference, the first candidate, and the artifacts; nothing for one number of them."""
    if len(set(config.threads)) < 2:
        return ()
    found: list[Scaling] = []
    for candidate in (candidates[0], *[candidate for candidate in candidates if candidate.is_artifact]):
        _logger.info("threads %s in turn: %s", ", ".join(map(str, config.threads)), candidate.name)
        found += measure_scaling(
            candidate.name,
            candidate.open,
            images,
            batches=config.batches,
            threads=config.threads,
            rounds=config.rounds,
            seconds=config.seconds / _SCALING_SHARE,
        )
    return tuple(found)


def _records(candidates: Sequence[Candidate], file_bytes: Mapping[str, int]) -> tuple[NetworkRecord, ...]:
    """What each network is; the first is the reference."""
    return tuple(
        NetworkRecord(
            name=candidate.name,
            description=candidate.description,
            file_bytes=file_bytes[candidate.name],
            size_ratio=file_bytes[candidate.name] / file_bytes[candidates[0].name],
            is_artifact=candidate.is_artifact,
            multiply_adds=candidate.multiply_adds,
            student=candidate.student,
        )
        for candidate in candidates
    )


def _compare(
    embeddings: Mapping[str, NDArray[np.float32]],
    torch_forms: Sequence[tuple[Mapping[str, Embed], Sequence[str]]],
    faces: EvaluationFaces,
    *,
    reference: str,
    progress: ShowProgress,
) -> Comparison:
    everything = dict(embeddings)
    also: list[tuple[str, str]] = []
    for forms, names in torch_forms:
        everything |= {name: embed_all(name, embed, faces, progress) for name, embed in forms.items()}
        also += list(zip(forms, names, strict=False))
    return compare(everything, faces, reference=reference, also=also)


def _without_float(comparison: Comparison, candidates: Sequence[Candidate]) -> Comparison:
    """For the plots: other float forms of the teacher lie on top of it and only hide the rest."""
    hidden = {candidate.name for candidate in candidates[1:] if candidate.is_float}
    return dataclasses.replace(
        comparison,
        curves={name: curve for name, curve in comparison.curves.items() if name not in hidden},
        cosines={name: values for name, values in comparison.cosines.items() if name not in hidden},
    )


def _describe(faces: EvaluationFaces | None, config: BenchConfig) -> str:
    if faces is None:
        return "drawn by EFQ's renderer (no --faces given): latency only, accuracy skipped"
    listed = f", list {config.listing.name}" if config.listing else ""
    pairs = f", pairs {', '.join(path.name for path in config.pairs)}" if config.pairs else ""
    unreadable = f", {len(faces.faces.unreadable)} unreadable skipped" if faces.faces.unreadable else ""
    identities = len(np.unique(faces.labels))
    return f"{len(faces.compared):,} images of {identities:,} identities{listed}{pairs}{unreadable}"


def _other_work(*busy: float | None) -> list[str]:
    """A note when more than a little of the machine was at work for others before or after the timing."""
    most = max((cores for cores in busy if cores is not None), default=0.0)
    if most <= _BUSY_CORES:
        return []
    return [
        f"Other work kept {most:.1f} cores busy before or after the timing: times are longer and ratios other than on "
        "a quiet machine, as networks do not suffer alike from shared caches and execution units. Measure again."
    ]


def _notes(
    config: BenchConfig,
    machine: Machine,
    manifests: Sequence[Manifest],
    names: Sequence[str],
    faces: EvaluationFaces | None,
) -> list[str]:
    """What a reader has to know to judge the figures."""
    notes = []
    if max(config.threads) > machine.cores:
        notes.append(f"More threads than the {machine.cores} cores this process may use: those times mean little.")
    teacher = sha256_file(config.teacher)
    for manifest, name in zip(manifests, names, strict=True):
        if manifest.teacher["sha256"] != teacher:
            notes.append(f"{name} was made from another teacher ({manifest.teacher['name']}) than the one given.")
    for pairs in () if faces is None else faces.pair_lists:
        if pairs.skipped:
            notes.append(f"{pairs.skipped} pairs of {pairs.name} skipped: an image cannot be decoded.")
    return notes
