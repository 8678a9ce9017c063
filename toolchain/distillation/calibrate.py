"""Quantize a float network without training it: lowering and calibration alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch

from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data import FaceSet, IdentityLevel, open_faces
from efq.toolchain.distillation.distill import Licences, lower_teacher, package
from efq.toolchain.distillation.processes import Processes
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import Recipe, load_recipe
from efq.toolchain.student import Student
from efq.toolchain.teachers import Teacher

_LARGEST_SET = 1000


def calibrate_teacher(
    teacher: Teacher,
    faces: Path,
    *,
    listing: Path | None = None,
    identity_level: IdentityLevel | None = None,
    recipe: str = "prelu",
    full_range: bool = False,
    seed: int = 0,
    progress: ShowProgress = no_progress,
) -> tuple[Student, float]:
    """The untrained student of `teacher` and its mean cosine to the teacher on some of the calibration faces.

    The faces it was calibrated on count as its training images: it is not evaluated on them. `full_range` adds to
    the recipe that weights of 8 bits use all of them.
    """
    untrained = lowering_recipe(recipe, full_range=full_range)
    found = open_faces(
        faces,
        listing=listing,
        max_images=_LARGEST_SET,
        identity_level=identity_level,
        contract=teacher.contract,
        seed=seed,
        progress=progress,
    )
    network, report = lower_teacher(teacher, found, untrained, seed=seed)
    processes = Processes(rank=0, world_size=1, device=torch.device("cpu"))
    student = package(network, report, teacher, found, untrained, {"steps": 0}, Licences(), processes)
    return student, _mean_cosine(student, teacher, found)


def lowering_recipe(name: str, *, full_range: bool) -> Recipe:
    """The recipe of that name without its training. Raises UsageError as `load_recipe`."""
    chosen = load_recipe(name)
    return dataclasses.replace(chosen, steps=0, full_range=chosen.full_range or full_range)


def _mean_cosine(student: Student, teacher: Teacher, faces: FaceSet) -> float:
    images = np.array(faces.images[:64])
    device = torch.device("cpu")
    wanted = torch_embedding(teacher.normalized, device)(images)
    return float((torch_embedding(student.network, device)(images) * wanted).sum(1).mean())
