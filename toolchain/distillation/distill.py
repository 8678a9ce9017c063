"""From a float teacher and faces to a student, in one call."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from efq.runtime.errors import ParityError
from efq.runtime.files import sweep_beside
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import sha256_file
from efq.toolchain.data import FaceSet, draw_images
from efq.toolchain.data.faces import draw_places
from efq.toolchain.data.near_duplicates import pack_hashes
from efq.toolchain.data.pictures import check_pictures
from efq.toolchain.distillation.licences import Licences, Origin, find_origin
from efq.toolchain.distillation.processes import Processes, join_processes, leave_processes, only_the_first_logs
from efq.toolchain.distillation.resume import load_resume, resume_path, save_resume
from efq.toolchain.distillation.student_check import compare_with_teacher
from efq.toolchain.distillation.trainer import Trainer
from efq.toolchain.evaluation.figures.rates import SMALL_SET_FARS, far_name
from efq.toolchain.evaluation.figures.separation import refuse_collapsed
from efq.toolchain.graph.description import build_graph, describe_graph
from efq.toolchain.losses import impostor_thresholds
from efq.toolchain.lowering import LoweringReport, float_graph, lower
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student, save_student
from efq.toolchain.teachers import Teacher
from efq.toolchain.teachers.candidate_inputs import Sample
from efq.toolchain.teachers.teacher_check import TeacherCheck, check_teacher, choose_sample

_THRESHOLD_RATES = {far_name(far): far for far in SMALL_SET_FARS}
_THRESHOLD_IMAGES = 1000

_logger = logging.getLogger(__name__)


def distill(
    teacher: Teacher,
    faces: FaceSet,
    recipe: Recipe,
    output: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    replace: bool = True,
    accept_teacher: bool = False,
    licences: Licences | None = None,
    progress: ShowProgress = no_progress,
) -> Student:
    """Look at `teacher` on some of `faces`, lower it, fine-tune it on them and write the student file `output`.

    With `resume` an interrupted run of the same teacher, faces, recipe and seed goes on from its last saved state.
    Without `replace` a student that is there, or has come there meanwhile, stays, and UsageError is raised.
    Under torchrun every process calls this; the first one logs, shows progress and writes. Raises InputError as
    `check_pictures` does, TeacherError as `check_teacher`, which takes `accept_teacher`, and ParityError for a student
    whose embeddings are none or all alike, UsageError as `find_origin`; nothing is written then.
    """
    origin = find_origin(teacher, licences or Licences())
    processes = join_processes(device)
    with only_the_first_logs(processes):
        run = _describe_run(teacher, faces, recipe, seed, processes)
        check_pictures(faces)
        checked = check_teacher(teacher, faces, accept=accept_teacher, device=processes.device)
        state_path = resume_path(output)
        if processes.leads:
            sweep_beside(state_path)
        start = _resume(state_path, run, recipe) if resume else _lower(teacher, faces, recipe, seed)
        trainer = Trainer(
            start.network,
            _float_graph(teacher),
            faces,
            recipe,
            seed=seed,
            processes=processes,
            progress=progress,
        )
        if start.state is not None:
            trainer.load_state(start.state)
        trainer.run(lambda: _save_state(state_path, trainer, start, run))
        training = _describe_training(trainer, recipe, seed, processes) | describe_teacher(teacher, checked)
        student = package(start.network, start.report, teacher, faces, recipe, training, origin, processes)
        compared = compare_with_teacher(student, teacher, *_compared(faces, recipe, seed), device=processes.device)
        student = dataclasses.replace(student, training=training | {"student_check": str(compared)})
    student.network.cpu()  # exporters read its tensors with NumPy
    if processes.leads:
        save_student(student, output, replace=replace)
        sha256 = sha256_file(output, expected="the student as written")
        lineage = dataclasses.replace(student.lineage, student_sha256=sha256)
        student = dataclasses.replace(student, lineage=lineage)
        state_path.unlink(missing_ok=True)
    leave_processes()
    return student


def _compared(faces: FaceSet, recipe: Recipe, seed: int) -> tuple[Sample, bool]:
    """Faces to compare student and teacher on, and whether the student has seen none of them."""
    rest = np.arange(len(faces))
    if recipe.steps == 0:
        rest = np.setdiff1d(rest, draw_places(len(faces), _lowering_images(recipe), seed))
    held_out = recipe.steps == 0 and len(rest) > 0
    places = rest if len(rest) else np.arange(len(faces))
    chosen = places[choose_sample(faces.labels[places])]
    return (np.array(faces.images[chosen]), faces.labels[chosen]), held_out


def _lowering_images(recipe: Recipe) -> int:
    return max(recipe.calibration_images, recipe.fitting_images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Start:
    """What training starts from: a lowered network, and the trainer's state where a run is resumed."""

    network: fx.GraphModule
    report: LoweringReport
    state: dict[str, Any] | None


def _float_graph(teacher: Teacher) -> fx.GraphModule:
    contract, pixels = teacher.contract, teacher.normalization
    return float_graph(teacher.network, pixels.mean, pixels.std, height=contract.height, width=contract.width)


def _lower(teacher: Teacher, faces: FaceSet, recipe: Recipe, seed: int) -> _Start:
    images = torch.from_numpy(draw_images(faces, _lowering_images(recipe), seed))
    lowered, report = lower_teacher(teacher, images, recipe)
    network = build_graph(describe_graph(lowered))  # parameters in the order that a resumed run has them
    network.load_state_dict(lowered.state_dict())
    return _Start(network=network, report=report, state=None)


def _resume(path: Path, run: dict[str, Any], recipe: Recipe) -> _Start:
    state, graph = load_resume(path, run)
    _logger.info("resuming at step %d of %d", state["step"], recipe.steps)
    saved = state["lowering"]
    report = LoweringReport(changed=saved["changed"], notes=tuple(saved["notes"]), activations=saved["activations"])
    return _Start(network=build_graph(graph), report=report, state=state)


def _save_state(path: Path, trainer: Trainer, start: _Start, run: dict[str, Any]) -> None:
    report = start.report
    lowering = {"changed": report.changed, "notes": list(report.notes), "activations": report.activations}
    save_resume(path, trainer.state() | {"lowering": lowering}, run, describe_graph(start.network))


def _describe_run(teacher: Teacher, faces: FaceSet, recipe: Recipe, seed: int, processes: Processes) -> dict[str, Any]:
    """What another run has to have in common to be resumed."""
    declared = {} if teacher.declared_input is None else {"teacher_input": str(teacher.declared_input)}
    return declared | {
        "teacher": teacher.sha256,
        "data": faces.sha256,
        "recipe": recipe.to_dict(),
        "seed": seed,
        "world_size": processes.world_size,
    }


def _describe_training(trainer: Trainer, recipe: Recipe, seed: int, processes: Processes) -> dict[str, Any]:
    """For the student file: how it was trained, and the last losses."""
    return {
        "steps": recipe.steps,
        "images": recipe.steps * recipe.batch,
        "seconds": round(trainer.seconds, 1),
        "seed": seed,
        "device": str(processes.device),
        "processes": processes.world_size,
        **{name: float(value) for name, value in trainer.averages.items()},
    }


def describe_teacher(teacher: Teacher, checked: TeacherCheck) -> dict[str, str]:
    """For the student file: what the teacher was taken to be trained on, and what the check of it saw."""
    return {"teacher_input": str(teacher.input), "teacher_check": str(checked)}


def lower_teacher(teacher: Teacher, images: Tensor, recipe: Recipe) -> tuple[fx.GraphModule, LoweringReport]:
    """The untrained student graph of `teacher`, fitted and calibrated on `images` uint8 (N, H, W, 3)."""
    normalization = teacher.normalization
    return lower(teacher.network, recipe, images, mean=normalization.mean, std=normalization.std)


def package(
    network: fx.GraphModule,
    report: LoweringReport,
    teacher: Teacher,
    faces: FaceSet,
    recipe: Recipe,
    training: dict[str, Any],
    origin: Origin,
    processes: Processes,
) -> Student:
    """The student record of a finished network; its thresholds are measured on some of the fine-tuning faces."""
    network.eval()
    chosen = np.arange(len(faces))[:_THRESHOLD_IMAGES]
    found = torch_embedding(network, processes.device)(faces.images[chosen])
    refuse_collapsed(found, "the student", error_class=ParityError)
    embeddings = torch.from_numpy(found)
    labels = torch.from_numpy(faces.labels[chosen])
    values = impostor_thresholds(embeddings, labels, tuple(_THRESHOLD_RATES.values()))
    trained = recipe.steps > 0
    return Student(
        network=network,
        backbone=teacher.name,
        recipe=recipe,
        contract=teacher.contract,
        embedding_size=embeddings.shape[1],
        teacher=origin.teacher,
        data={
            "images": len(faces) if trained else 0,
            "identities": len(faces.identities) if trained else 0,
            "sha256": faces.sha256,
            "licence": origin.data_licence,
        },
        lineage=origin.lineage,
        activations=report.activations,
        notes=report.notes,
        training=training,
        thresholds={name: float(value) for name, value in zip(_THRESHOLD_RATES, values, strict=True)},
        training_hashes=tuple(sorted(faces.short_hashes)),
        training_pixel_hashes=tuple(sorted(faces.short_pixel_hashes)),
        training_near_hashes=pack_hashes(faces.near_hashes),
    )
