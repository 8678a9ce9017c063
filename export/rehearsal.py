"""The whole way from a teacher to an open artifact, with an untrained student, before hours go into training one."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from efq.export.engine_settings import EngineSettings
from efq.export.exporter import export_student
from efq.export.targets import find_target
from efq.runtime import Embedder, InputContract
from efq.runtime.errors import (
    DeviceError,
    EfqError,
    GateError,
    LoweringError,
    MissingDependencyError,
    ParityError,
)
from efq.runtime.files import temporary_folder
from efq.runtime.targets import find_target as find_row
from efq.toolchain.evaluation.figures.separation import refuse_collapsed
from efq.toolchain.lowering import lower
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student, load_student, save_student
from efq.toolchain.teachers import Teacher

_IMAGES = 2

_logger = logging.getLogger(__name__)


def rehearse(teacher: Teacher, recipe: Recipe, target: str, *, allow_float: bool = False) -> None:
    """Lower `teacher` by `recipe` on two drawn images, write the student, read it, export it for `target`, open that.

    Its steps are those of the real student: what one of them refuses is known at once. Its numbers mean little, and
    are warned of only. No engine is built. A teacher that embeds the two images alike, or not at all, is left to
    `check_teacher`, which sees faces. Raises LoweringError, UsageError or CoverageError, as the steps do;
    `allow_float` is that of `export_student`. Where this machine lacks what the target needs, a warning says so.
    """
    if not _embeds(teacher):
        _logger.info("not rehearsed: the embeddings of %s do not differ on drawn images", teacher.name)
        return
    started = time.monotonic()
    try:
        with temporary_folder("efq-rehearsal") as folder, _warnings_only():
            _rehearse(teacher, recipe, target, folder, allow_float=allow_float)
    except (MissingDependencyError, DeviceError) as error:
        _logger.warning("not rehearsed: %s", error)
    except ParityError as error:  # of weights that two drawn images made: those of faces may be nearer, or not
        _logger.warning("an untrained student's artifact for %s is off, a trained one's may not be: %s", target, error)
    except (EfqError, OSError, MemoryError):
        raise
    except Exception as error:
        message = (
            f"an untrained student of {teacher.name} does not get as far as an artifact for {target} "
            f"({type(error).__name__}: {error}): expected it to; please report the network to EFQ's maintainers"
        )
        raise LoweringError(message) from error
    else:
        seconds = time.monotonic() - started
        _logger.info("rehearsed: %s, lowered, written, exported for %s, opened: %.1f s", teacher.name, target, seconds)


def _embeds(teacher: Teacher) -> bool:
    embed = torch_embedding(teacher.normalized, torch.device("cpu"))
    try:
        refuse_collapsed(embed(drawn_images(teacher.contract)), teacher.name)
    except GateError:
        return False
    return True


def _rehearse(teacher: Teacher, recipe: Recipe, target: str, folder: Path, *, allow_float: bool) -> None:
    images = drawn_images(teacher.contract)
    path = folder / "student.pt"
    quick = dataclasses.replace(recipe, steps=0, calibration_images=_IMAGES, fitting_images=_IMAGES)
    save_student(untrained_student(teacher, quick, images), path)
    student = load_student(path)
    found = find_target(target)
    full_range = recipe.full_range and found.products_saturate
    engine = EngineSettings(build=False) if found.builds_engine else None
    artifact = folder / "artifact"
    export_student(
        student,
        found,
        artifact,
        bits=student.bits["weights"],
        full_range=full_range,
        allow_float=allow_float,
        engine=engine,
        rehearsal=True,
    )
    row = find_row(target)
    if "cpu" in row.devices:
        with Embedder.open(artifact, device="cpu", backend=row.backends[0]) as embedder:
            embedder.embed(images)


@contextlib.contextmanager
def _warnings_only() -> Iterator[None]:
    """What the steps log is said again when they are taken in earnest."""
    logger = logging.getLogger("efq")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def drawn_images(contract: InputContract) -> NDArray[np.uint8]:
    """Blocks of color (N, H, W, 3)."""
    blocks = np.random.default_rng(0).integers(0, 256, (_IMAGES, 8, 8, 3), dtype=np.uint8)
    large = blocks.repeat(-(-contract.height // 8), 1).repeat(-(-contract.width // 8), 2)
    return np.ascontiguousarray(large[:, : contract.height, : contract.width])


def untrained_student(teacher: Teacher, recipe: Recipe, images: NDArray[np.uint8]) -> Student:
    """The student of `teacher` as lowering leaves it, its ranges started on `images` uint8 (N, H, W, 3)."""
    normalization, faces = teacher.normalization, torch.from_numpy(images)
    network, report = lower(teacher.network, recipe, faces, mean=normalization.mean, std=normalization.std)
    with torch.inference_mode():
        size = network(faces).shape[1]
    return Student(
        network=network,
        backbone=teacher.name,
        recipe=recipe,
        contract=teacher.contract,
        embedding_size=size,
        teacher={"name": teacher.name, "sha256": teacher.sha256, "licence": teacher.licence},
        data={"images": 0, "identities": 0, "sha256": "", "licence": ""},
        activations=report.activations,
        notes=report.notes,
        training={"steps": 0},
        thresholds={},
        training_hashes=(),
    )
