"""From a float teacher and a folder of faces to a student, in one call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from efq.runtime.console import log
from efq.toolchain.data import FaceSet, draw_images
from efq.toolchain.distillation.processes import Processes, join_processes, leave_processes
from efq.toolchain.distillation.resume import load_resume, resume_path, save_resume
from efq.toolchain.distillation.trainer import Trainer
from efq.toolchain.evaluation.rates import SMALL_SET_FARS, far_name
from efq.toolchain.losses import impostor_thresholds
from efq.toolchain.lowering import LoweringReport, float_graph, lower
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student, build_graph, describe_graph, save_student
from efq.toolchain.teachers.teacher import Teacher

_THRESHOLD_RATES = {far_name(far): far for far in SMALL_SET_FARS}
_THRESHOLD_IMAGES = 1000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Licences:
    """What the teacher's weights and the faces may be used for, as a user states it."""

    teacher: str | None = None
    data: str = "unknown"


def distill(
    teacher: Teacher,
    faces: FaceSet,
    recipe: Recipe,
    output: Path,
    *,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    licences: Licences | None = None,
) -> Student:
    """Lower `teacher`, fine-tune it on `faces` and write the student file `output`.

    With `resume` an interrupted run of the same teacher, faces, recipe and seed goes on from its last saved state.
    Under torchrun every process calls this; the first one writes.
    """
    licences = licences or Licences()
    processes = join_processes(device)
    run = {"teacher": teacher.sha256, "data": faces.sha256, "recipe": recipe.to_dict(), "seed": seed}
    run["world_size"] = processes.world_size
    state_path = resume_path(output)
    mean, std = teacher.backbone.mean, teacher.backbone.std
    if resume:
        state, graph = load_resume(state_path, run)
        network, report = build_graph(graph), _report_of(state)
        log(f"resuming at step {state['step']} of {recipe.steps}")
    else:
        state = None
        lowered, report = lower_teacher(teacher, faces, recipe, seed=seed, log=log if processes.leads else _silent)
        network = build_graph(describe_graph(lowered))  # parameters in the order that a resumed run has them
        network.load_state_dict(lowered.state_dict())
    trainer = Trainer(network, float_graph(teacher.network, mean, std), faces, recipe, seed=seed, processes=processes)
    if state is not None:
        trainer.load_state(state)

    def checkpoint() -> None:
        extra = {
            "lowering": {"changed": report.changed, "notes": list(report.notes), "activations": report.activations}
        }
        save_resume(state_path, trainer.state() | extra, run, describe_graph(network))

    trainer.run(checkpoint)
    training: dict[str, Any] = {"steps": recipe.steps, "images": recipe.steps * recipe.batch}
    training |= {
        "seconds": round(trainer.seconds, 1),
        "seed": seed,
        "device": str(processes.device),
        "processes": processes.world_size,
    }
    training |= {name: float(value) for name, value in trainer.averages.items()}
    student = package(network, report, teacher, faces, recipe, training, licences, processes)
    student.network.cpu()  # exporters read its tensors with NumPy
    if processes.leads:
        save_student(student, output)
        state_path.unlink(missing_ok=True)
    leave_processes()
    return student


def lower_teacher(
    teacher: Teacher, faces: FaceSet, recipe: Recipe, *, seed: int, log: Callable[[str], None]
) -> tuple[Any, LoweringReport]:
    """The untrained student graph of `teacher`, fitted and calibrated on some of `faces`."""
    images = torch.from_numpy(draw_images(faces, max(recipe.calibration_images, recipe.fitting_images), seed))
    mean, std = teacher.backbone.mean, teacher.backbone.std
    return lower(teacher.network, recipe, images, mean=mean, std=std, log=log)


def package(
    network: Any,
    report: LoweringReport,
    teacher: Teacher,
    faces: FaceSet,
    recipe: Recipe,
    training: dict[str, Any],
    licences: Licences,
    processes: Processes,
) -> Student:
    """The student record of a finished network; its thresholds are measured on some of the fine-tuning faces."""
    network.eval()
    chosen = np.arange(len(faces))[:_THRESHOLD_IMAGES]
    embeddings = torch.from_numpy(torch_embedding(network, processes.device)(faces.images[chosen]))
    labels = torch.from_numpy(faces.labels[chosen])
    values = impostor_thresholds(embeddings, labels, tuple(_THRESHOLD_RATES.values()))
    trained = recipe.steps > 0
    return Student(
        network=network,
        backbone=teacher.backbone.name,
        recipe=recipe.to_dict(),
        contract=teacher.contract,
        embedding_size=embeddings.shape[1],
        teacher={
            "name": teacher.backbone.name,
            "sha256": teacher.sha256,
            "licence": licences.teacher or teacher.backbone.licence,
        },
        data={
            "images": len(faces) if trained else 0,
            "identities": len(faces.identities) if trained else 0,
            "sha256": faces.sha256,
            "licence": licences.data,
        },
        activations=report.activations,
        notes=report.notes,
        training=training,
        thresholds={name: float(value) for name, value in zip(_THRESHOLD_RATES, values, strict=True)},
        training_hashes=tuple(sorted(faces.short_hashes)),
    )


def _report_of(state: dict[str, Any]) -> LoweringReport:
    saved = state["lowering"]
    return LoweringReport(changed=saved["changed"], notes=tuple(saved["notes"]), activations=saved["activations"])


def _silent(line: str) -> None:
    return
