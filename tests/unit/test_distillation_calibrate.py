"""Quantizing without training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from messages import names, raises_naming
from networks import make_teacher, write_faces

from efq.runtime.errors import InputError
from efq.toolchain.distillation import calibrate_teacher
from efq.toolchain.distillation.calibrate import split_faces
from efq.toolchain.recipes.recipe import Recipe


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


def test_the_exact_recipe_is_close_and_says_how_close(tmp_path: Path) -> None:
    teacher = make_teacher(tmp_path / "teacher.pt")
    student, cosine = calibrate_teacher(teacher, write_faces(tmp_path / "faces"))
    assert 0.98 < cosine <= 1
    assert student.recipe.name == "prelu"
    assert set(student.activations.values()) == {"prelu"}
    assert (student.recipe.steps, student.training["steps"], student.data["images"]) == (0, 0, 0)
    assert len(student.training_hashes) == 24  # not to be evaluated on them
    worse = calibrate_teacher(teacher, tmp_path / "faces", recipe="relu")[1]
    assert worse < cosine


def test_the_cosine_is_of_faces_it_was_not_calibrated_on(tmp_path: Path) -> None:
    """A fifth of the 24 is held out; of the faces of fewer, nothing can be."""
    teacher = make_teacher(tmp_path / "teacher.pt")
    student, cosine = calibrate_teacher(teacher, write_faces(tmp_path / "faces"))
    assert student.training["calibration_images"] == 20
    names(student.training["student_check"], "4 held-out faces", f"{cosine:.4f}")
    few, _ = calibrate_teacher(teacher, write_faces(tmp_path / "few", people=3))
    assert few.training["calibration_images"] == 9
    names(few.training["student_check"], "none were held out")


@pytest.mark.parametrize("sizes", [[1] * 19, [2] * 40, [1000], [3] * 100 + [1] * 700], ids=len)
@pytest.mark.parametrize("calibration", [8, 256, 5000])
def test_faces_are_split(sizes: list[int], calibration: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    recipe = Recipe(name="tiny", activation="relu", calibration_images=calibration, fitting_images=8)
    kept, held_out = split_faces(labels, recipe, 0)
    assert not set(kept) & set(held_out)
    assert len(kept) == (
        min(calibration, len(labels) - len(labels) // 5) if len(labels) >= 20 else min(19, calibration)
    )
    assert len(held_out) <= 128
    assert (len(held_out) > 0) == (len(labels) > len(kept))


def test_images_that_were_normalized(tmp_path: Path) -> None:
    """Pixels of 0 and 1 agree with the teacher, cosine 0.99, and tell nobody apart."""
    write_faces(tmp_path / "faces")
    for path in (tmp_path / "faces").rglob("*.png"):
        cv2.imwrite(str(path), np.round(cv2.imread(str(path)) / 255))
    with raises_naming(InputError, "0.png", "normalized"):
        calibrate_teacher(make_teacher(tmp_path / "teacher.pt"), tmp_path / "faces")


def test_a_folder_without_faces(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    with raises_naming(InputError, tmp_path / "faces"):
        calibrate_teacher(make_teacher(tmp_path / "teacher.pt"), tmp_path / "faces")
