"""Quantizing without training."""

from __future__ import annotations

from pathlib import Path

import pytest
from messages import raises_naming
from networks import make_teacher, write_faces

from efq.runtime.errors import InputError
from efq.toolchain.distillation import calibrate_teacher


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


def test_a_folder_without_faces(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    with raises_naming(InputError, tmp_path / "faces"):
        calibrate_teacher(make_teacher(tmp_path / "teacher.pt"), tmp_path / "faces")
