"""Quantize a float network without training it: lowering and calibration alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data import IdentityLevel, open_faces
from efq.toolchain.data.faces import draw_places
from efq.toolchain.data.pictures import check_pictures
from efq.toolchain.distillation.distill import describe_teacher, lower_teacher, package
from efq.toolchain.distillation.licences import Licences, find_origin
from efq.toolchain.distillation.processes import Processes
from efq.toolchain.distillation.student_check import compare_with_teacher
from efq.toolchain.recipes.recipe import Recipe, load_recipe
from efq.toolchain.student import Student
from efq.toolchain.teachers import Teacher
from efq.toolchain.teachers.teacher_check import SAMPLE_IMAGES, check_teacher, choose_sample

_LARGEST_SET = 1000
_HELD_OUT_OF = 5  # one in so many of a small set
_LEAST_SET = 20  # smaller ones are used whole


def calibrate_teacher(
    teacher: Teacher,
    faces: Path,
    *,
    listing: Path | None = None,
    identity_level: IdentityLevel | None = None,
    recipe: str = "prelu",
    full_range: bool = False,
    accept_teacher: bool = False,
    resize: bool = False,
    seed: int = 0,
    licences: Licences | None = None,
    progress: ShowProgress = no_progress,
) -> tuple[Student, float]:
    """The untrained student of `teacher` and its mean cosine to the teacher on faces it was not calibrated on.

    Up to 128 of the faces are held out from calibration for that, a fifth of small sets; of fewer than 20 none. All of
    them count as its training images: it is not evaluated on them. `full_range` adds to the recipe that weights of 8
    bits use all of them; `resize` is that of `open_faces`. Raises InputError as `check_pictures` does, TeacherError as
    `check_teacher`, UsageError as `find_origin`.
    """
    origin = find_origin(teacher, licences or Licences())
    untrained = lowering_recipe(recipe, full_range=full_range)
    found = open_faces(
        faces,
        listing=listing,
        max_images=_LARGEST_SET,
        identity_level=identity_level,
        contract=teacher.contract,
        resize=resize,
        seed=seed,
        progress=progress,
    )
    check_pictures(found)
    checked = check_teacher(teacher, found, accept=accept_teacher)
    calibration, held_out = split_faces(found.labels, untrained, seed)
    images = torch.from_numpy(np.array(found.images[calibration]))
    network, report = lower_teacher(teacher, images, untrained)
    device = torch.device("cpu")
    processes = Processes(rank=0, world_size=1, device=device)
    training = {"steps": 0, "calibration_images": len(calibration)} | describe_teacher(teacher, checked)
    student = package(network, report, teacher, found, untrained, training, origin, processes)
    compared = held_out if len(held_out) else calibration[:SAMPLE_IMAGES]
    sample = np.array(found.images[compared]), found.labels[compared]
    outcome = compare_with_teacher(student, teacher, sample, len(held_out) > 0, device=device)
    return dataclasses.replace(student, training=training | {"student_check": str(outcome)}), outcome.cosine_mean


def lowering_recipe(name: str, *, full_range: bool) -> Recipe:
    """The recipe of that name without its training. Raises UsageError as `load_recipe`."""
    chosen = load_recipe(name)
    return dataclasses.replace(chosen, steps=0, full_range=chosen.full_range or full_range)


def split_faces(labels: NDArray[np.int64], recipe: Recipe, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the images to calibrate on, as many as the recipe takes, and of up to 128 others.

    A fifth of a set that the recipe would take whole is held out; of fewer than 20 images none.
    """
    total = len(labels)
    least = total // _HELD_OUT_OF if total >= _LEAST_SET else 0
    wanted = max(recipe.calibration_images, recipe.fitting_images)
    calibration = draw_places(total, min(wanted, total - least), seed)
    rest = np.setdiff1d(np.arange(total), calibration)
    return calibration, rest[choose_sample(labels[rest])] if len(rest) else rest
