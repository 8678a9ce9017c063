"""One benchmark from start to end: open the networks, time them, compare their embeddings."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.accuracy.parity import Comparison, compare
from efq.benchmarks.accuracy.torch_students import integer_students, simulated_students
from efq.benchmarks.candidates import artifact_candidates, artifact_names, check_cpu_targets, peer_candidates, usable
from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.engines.engine_bench import EngineBench
from efq.benchmarks.engines.gpu_results import GpuResults
from efq.benchmarks.engines.gpu_target import GpuTarget
from efq.benchmarks.measured import Measured, embed_all, measure_candidates, measure_processes, measure_scalings
from efq.benchmarks.peers import onnxruntime
from efq.benchmarks.peers.float_teacher import export_teacher
from efq.benchmarks.peers.registry import peer_tools
from efq.benchmarks.peers.tool import Candidate
from efq.benchmarks.recorded_input import recorded_input
from efq.benchmarks.report.notes import describe_faces, other_work, skipped_notes, teacher_notes, threads_note
from efq.benchmarks.report.results import BenchResults, NetworkRecord
from efq.benchmarks.timing.footprint import Footprint
from efq.benchmarks.timing.int8_floor import Int8Floor
from efq.benchmarks.timing.machine import Machine, busy_cores, describe_machine
from efq.benchmarks.timing.scaling import Scaling
from efq.runtime import Manifest, UsageError
from efq.runtime.artifact.folder import Artifact
from efq.runtime.files import temporary_folder
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import sha256_file
from efq.toolchain.data.faces import open_faces
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.data.pictures import check_pictures
from efq.toolchain.evaluation import EvaluationFaces, check_unseen, open_evaluation_faces
from efq.toolchain.evaluation.certificate.cohort_file import CohortLabels, read_cohorts
from efq.toolchain.evaluation.embed import Embed
from efq.toolchain.networks import open_network
from efq.toolchain.teachers import open_teacher
from efq.toolchain.teachers.teacher_check import check_teacher

CALIBRATION_FACES = 300

_SCALING_SHARE = 10  # of a setting's time, for one network instead of all


@dataclasses.dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What to benchmark.

    artifacts: their folders. teacher: float checkpoint, of `backbone` or the one its keys fit, trained on
    `teacher_input`, or on what an artifact made from it says. accept_teacher: as in `check_teacher`. students: the
    torch student of each artifact, in the same order, or none. faces, listing: the faces to compare all pairs of, or
    none to measure latency only. identity_level: as `open_faces` takes it. cohorts: a table of the faces' cohorts, for
    certificates. pairs: pairs files with paths relative to `faces`. calibration: listing of the faces the peers are
    calibrated on. batches, threads: every combination is timed, for `rounds` rounds or `seconds` seconds.
    peers: also what other tools make of the teacher; tools: by name, all of them unless given.
    gpu: compare engines on a GPU instead, one thread, without `peers` and `students`.
    title: of the report.
    Raises UsageError for what does not fit together.
    """

    artifacts: tuple[Path, ...]
    teacher: Path
    backbone: str | None = None
    teacher_input: str | None = None
    accept_teacher: bool = False
    students: tuple[Path, ...] = ()
    faces: Path | None = None
    listing: Path | None = None
    identity_level: IdentityLevel | None = None
    cohorts: Path | None = None
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
        if self.faces is None and any((self.listing, self.identity_level, self.cohorts, self.calibration)):
            options = "--list, --identity-level, --cohorts or --calibration-list"
            message = f"expected --faces DIR with {options}, found none; add it"
            raise UsageError(message)
        if self.faces is None and not self.pairs and self.students:
            message = "expected --faces DIR or --pairs with --student, found neither; add one"
            raise UsageError(message)
        if self.tools and not self.peers:
            message = "expected peers with the names of their tools, found none; set peers as well"
            raise UsageError(message)
        if self.gpu is not None and (self.peers or self.students or self.threads != (1,)):
            message = "expected no --peers, --student or --threads with --target: engines are timed from one thread"
            raise UsageError(message)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Bench:
    """A finished benchmark: `results` for the report, `comparison` for its plots, `artifacts` and their `names`.

    `artifacts` are as they were before anything was measured. `student_names` holds the torch students' names, in
    the order of the artifacts, or nothing. `faces_sha256` is one hash over the compared faces, `faces`, whose `cohorts`
    may have been given, and `embeddings` those of all of them, by network.
    """

    results: BenchResults
    comparison: Comparison | None
    artifacts: tuple[Artifact, ...]
    names: tuple[str, ...]
    student_names: tuple[str, ...]
    faces_sha256: str | None
    faces: EvaluationFaces | None
    cohorts: CohortLabels | None
    embeddings: Mapping[str, NDArray[np.float32]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Opened:
    """What a benchmark starts from: artifacts and faces that fit together; `engines` where a GPU is named."""

    machine: Machine
    artifacts: Sequence[Artifact]
    manifests: Sequence[Manifest]
    names: Sequence[str]
    engines: EngineBench | None
    faces: EvaluationFaces | None
    cohorts: CohortLabels | None
    teacher_input: str | None
    students: Mapping[str, Embed]
    images: NDArray[np.uint8]
    notes: Sequence[str]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Timed:
    """What was measured of the open networks, one after the other."""

    footprints: tuple[Footprint, ...]
    floor: Int8Floor | None
    measured: Measured
    scaling: tuple[Scaling, ...]
    gpu: GpuResults | None
    notes: Sequence[str]


def run_bench(config: BenchConfig, *, progress: ShowProgress = no_progress) -> Bench:
    """Run a benchmark; `progress` shows the decoding and embedding of faces, and the building of engines.

    Raises what opening networks and faces raises, UsageError for artifacts of a target for GPUs without `gpu`, and
    MissingDependencyError for absent peers.
    """
    opened = _open(config, progress)
    with temporary_folder("efq-bench") as folder, opened.engines or contextlib.nullcontext():
        candidates, notes = _candidates(config, opened, folder, progress)
        timed = _measure(config, opened, candidates, progress)
        comparison = _compare(config, opened, candidates[0].name, timed.measured.embeddings, progress)
    results = BenchResults(
        title=config.title,
        command=config.command,
        created=datetime.datetime.now(datetime.UTC).date().isoformat(),
        machine=opened.machine,
        reference=candidates[0].name,
        faces=describe_faces(opened.faces, listing=config.listing, pairs=config.pairs),
        networks=_records(candidates, timed.measured.file_bytes),
        latency=timed.measured.latency,
        scaling=timed.scaling,
        accuracy=None if comparison is None else comparison.results,
        footprints=timed.footprints,
        floor=timed.floor,
        notes=(*opened.notes, *notes, *timed.notes),
        gpu=timed.gpu,
    )
    return Bench(
        results=results,
        comparison=None if comparison is None else _without_float(comparison, candidates),
        artifacts=tuple(opened.artifacts),
        names=tuple(opened.names),
        student_names=tuple(opened.students),
        faces_sha256=None if opened.faces is None else opened.faces.faces.sha256,
        faces=opened.faces,
        cohorts=opened.cohorts,
        embeddings=timed.measured.embeddings,
    )


def _open(config: BenchConfig, progress: ShowProgress) -> _Opened:
    machine = describe_machine()
    artifacts = [Artifact.open(directory) for directory in config.artifacts]
    manifests = [artifact.manifest for artifact in artifacts]
    if config.gpu is None:
        check_cpu_targets(config.artifacts, manifests)
    names = artifact_names(config.artifacts, manifests)
    engines = None
    if config.gpu is not None:
        folders = dict(zip(names, config.artifacts, strict=True))
        engines = EngineBench(config.gpu, folders, manifests, config.batches, progress=progress)
    faces = _open_faces(config, manifests[0], progress)
    cohorts = None
    if config.cohorts is not None and faces is not None:
        cohorts = read_cohorts(config.cohorts, faces.faces, faces.compared)
    teacher_input = config.teacher_input or recorded_input(config.teacher, manifests)
    if faces is not None:
        teacher = open_teacher(config.teacher, config.backbone, teacher_input)
        check_pictures(faces.faces)
        check_teacher(teacher, faces.faces, accept=config.accept_teacher)
    return _Opened(
        machine=machine,
        artifacts=artifacts,
        manifests=manifests,
        names=names,
        engines=engines,
        faces=faces,
        cohorts=cohorts,
        teacher_input=teacher_input,
        students=integer_students(names, manifests, config.students),
        images=drawn_faces() if faces is None else faces.faces.images,
        notes=(
            *threads_note(config.threads, machine),
            *teacher_notes(manifests, names, sha256_file(config.teacher, expected="a teacher's checkpoint")),
            *skipped_notes(faces),
        ),
    )


def _open_faces(config: BenchConfig, manifest: Manifest, progress: ShowProgress) -> EvaluationFaces | None:
    if config.faces is None and not config.pairs:
        return None
    faces = open_evaluation_faces(
        config.faces,
        listing=config.listing,
        pairs_files=config.pairs,
        identity_level=config.identity_level,
        contract=manifest.input,
        progress=progress,
    )
    for path in (*config.artifacts, *config.students):
        with open_network(path, device="cpu", threads=1) as network:
            seen = network.training
        check_unseen(faces.faces, path, *seen, remedy="give other faces (--faces, --list, --pairs)")
    return faces


def _candidates(
    config: BenchConfig, opened: _Opened, folder: Path, progress: ShowProgress
) -> tuple[list[Candidate], list[str]]:
    """The networks to compare, the reference of every ratio first, and notes on the peers among them."""
    teacher = export_teacher(
        config.teacher,
        folder / "teacher.onnx",
        name=f"{config.teacher.stem} float32 (ONNX Runtime)",
        backbone=config.backbone,
        teacher_input=opened.teacher_input,
        contract=opened.manifests[0].input,
    )
    if opened.engines is not None:
        return opened.engines.candidates(teacher, config.teacher.stem, folder), []
    candidates = [onnxruntime.TOOL.reference(teacher)]
    for directory, manifest, name in zip(config.artifacts, opened.manifests, opened.names, strict=True):
        candidates += artifact_candidates(directory, manifest, name=name)
    if not config.peers:
        return candidates, []
    calibration, note = _calibration(config, opened.images, progress)
    candidates += peer_candidates(peer_tools(config.tools), teacher, calibration, folder)
    candidates, failures = usable(candidates, config.threads[0], opened.images[:1])
    return candidates, [note, *failures]


def _calibration(
    config: BenchConfig, images: NDArray[np.uint8], progress: ShowProgress
) -> tuple[NDArray[np.uint8], str]:
    """The faces the peers are calibrated on, and a note that says which they are."""
    if config.calibration is not None and config.faces is not None:
        chosen = open_faces(
            config.faces,
            listing=config.calibration,
            identity_level=config.identity_level,
            max_images=CALIBRATION_FACES,
            progress=progress,
        )
        return np.asarray(chosen.images), f"Peers calibrated on {len(chosen)} faces of {config.calibration.name}."
    order = np.random.default_rng(0).permutation(len(images))[:CALIBRATION_FACES]
    if config.faces is None and not config.pairs:
        return images[np.sort(order)], f"Peers calibrated on {len(order)} drawn faces: good for timing only."
    note = f"Peers calibrated on {len(order)} of the compared faces themselves, which favours them."
    return images[np.sort(order)], note


def _measure(config: BenchConfig, opened: _Opened, candidates: Sequence[Candidate], progress: ShowProgress) -> _Timed:
    """Memory and start-up, compared among peers, come first: nothing is open then."""
    footprints, floor = measure_processes(candidates) if config.peers else ((), None)
    busy_before = busy_cores()
    measured = measure_candidates(
        candidates,
        opened.images,
        opened.faces,
        batches=config.batches,
        threads=config.threads,
        rounds=config.rounds,
        seconds=config.seconds,
        progress=progress,
    )
    scaling = measure_scalings(
        candidates,
        opened.images,
        batches=config.batches,
        threads=config.threads,
        rounds=config.rounds,
        seconds=config.seconds / _SCALING_SHARE,
    )
    notes = other_work(busy_before, busy_cores())
    gpu = None
    if opened.engines is not None:
        gpu = opened.engines.measure(opened.images, rounds=config.rounds, seconds=config.seconds)
    return _Timed(footprints=footprints, floor=floor, measured=measured, scaling=scaling, gpu=gpu, notes=notes)


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
    config: BenchConfig,
    opened: _Opened,
    reference: str,
    embeddings: Mapping[str, NDArray[np.float32]],
    progress: ShowProgress,
) -> Comparison | None:
    """All networks with the reference, and each artifact with both forms of its torch student; None without faces."""
    if opened.faces is None:
        return None
    everything = dict(embeddings)
    also: list[tuple[str, str]] = []
    for forms in (
        opened.students,
        simulated_students(opened.names, config.students, threads=max(config.threads)),
    ):
        everything |= {name: embed_all(name, embed, opened.faces, progress) for name, embed in forms.items()}
        also += zip(forms, opened.names, strict=False)
    return compare(everything, opened.faces, reference=reference, also=also)


def _without_float(comparison: Comparison, candidates: Sequence[Candidate]) -> Comparison:
    """For the plots: other float forms of the teacher lie on top of it and only hide the rest."""
    hidden = {candidate.name for candidate in candidates[1:] if candidate.is_float}
    return dataclasses.replace(
        comparison,
        curves={name: curve for name, curve in comparison.curves.items() if name not in hidden},
        cosines={name: values for name, values in comparison.cosines.items() if name not in hidden},
    )
