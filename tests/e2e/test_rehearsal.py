"""The whole chain with an untrained student, before anything is decoded or trained."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from messages import names, raises_naming
from networks import TEACHER, make_teacher, randomize, write_faces

from efq.export import rehearse
from efq.export.export_command import main as export
from efq.runtime.errors import CoverageError, UsageError
from efq.toolchain.distill_command import main as distill
from efq.toolchain.recipes.recipe import load_recipe, recipe_names
from efq.toolchain.student import load_student
from efq.toolchain.teachers import Teacher, open_teacher

NETWORKS = """
from torch import nn


class Network(nn.Module):
    def __init__(self, *last, middle=()):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 7, 8, 3), nn.BatchNorm2d(8), nn.PReLU(8))
        self.middle, self.pool = nn.Sequential(*middle), nn.AdaptiveAvgPool2d(1)
        self.fc, self.last = nn.Linear(8, 16), nn.Sequential(*last)

    def forward(self, x):
        x = self.pool(self.middle(self.stem(x)))
        return self.last(self.fc(x.flatten(1)))


class Probabilities(Network):
    def forward(self, x):
        return super().forward(x).softmax(1)


def relu_last():
    return Network(nn.ReLU())


def batchnorm_last():
    return Network(nn.ReLU(), nn.BatchNorm1d(16))


def folded_last():
    return Network(nn.BatchNorm1d(16))


def strided():
    return Network(middle=[nn.Conv2d(8, 8, 1, 3, 1)])


def probabilities():
    return Probabilities()
"""


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`odd_networks` to import, and a folder for temporary files, in which nothing is left."""
    (tmp_path / "odd_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    assert not list((tmp_path / "tmp").glob("efq*"))


def make(name: str, folder: Path) -> Path:
    import odd_networks  # type: ignore[import-not-found]

    path = folder / f"{name}.pt"
    torch.save(randomize(getattr(odd_networks, name)(), slopes=(0.2,)).state_dict(), path)
    return path


@pytest.fixture
def teacher(tmp_path: Path) -> Teacher:
    return make_teacher(tmp_path / "teacher.pt")


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe(recipe: str, teacher: Teacher, caplog: pytest.LogCaptureFixture) -> None:
    chosen = load_recipe(recipe)
    with caplog.at_level(logging.INFO, "efq"):
        rehearse(teacher, chosen, "trt" if chosen.symmetric_activations else "ort-cpu")
    (line,) = [record.getMessage() for record in caplog.records]  # and nothing of what its steps say
    names(line, TEACHER)


@pytest.mark.parametrize("target", ["openvino", "trt", "trt-rtx"])
def test_other_targets(target: str, teacher: Teacher) -> None:
    rehearse(teacher, load_recipe("prelu"), target)


def test_what_a_target_refuses_is_refused(teacher: Teacher, tmp_path: Path) -> None:
    with raises_naming(UsageError, "PReLU"):
        rehearse(teacher, load_recipe("tensorrt"), "ort-cpu")
    strided = open_teacher(make("strided", tmp_path), "odd_networks:strided")
    rehearse(strided, load_recipe("relu"), "ort-cpu")
    with raises_naming(CoverageError, "middle.0"):
        rehearse(strided, load_recipe("relu"), "openvino")
    rehearse(strided, load_recipe("relu"), "openvino", allow_float=True)


def run_distill(name: str, folder: Path, faces: Path, *options: object) -> Result:
    arguments = (make(name, folder), "--backbone", f"odd_networks:{name}", "--faces", faces, "-o", folder / "s.pt")
    recipe = ("--recipe", "relu", "--steps", 2, "--threads", 1)
    return CliRunner().invoke(distill, [str(argument) for argument in (*arguments, *recipe, *options)])


@pytest.mark.parametrize(
    ("name", "options", "code", "facts"),
    [
        ("relu_last", (), 1, ("last.0", "ReLU")),
        ("batchnorm_last", (), 1, ("last.1", "BatchNorm")),
        ("probabilities", (), 1, ("softmax()", "odd_networks.py:19")),
        ("strided", ("--target", "openvino"), 3, ("middle.0",)),
        ("folded_last", ("--target", "tpu"), 2, ("tpu", "ort-cpu")),
        ("folded_last", ("--keep-8bit", "absent*"), 2, ("absent*",)),
    ],
)
def test_distilling_what_cannot_be_exported_does_not_begin(
    name: str, options: tuple[object, ...], code: int, facts: tuple[str, ...], tmp_path: Path
) -> None:
    """Not even the faces are looked for."""
    result = run_distill(name, tmp_path, tmp_path / "absent", *options)
    assert result.exit_code == code, result.output
    names(result.stderr, *facts)
    assert not (tmp_path / "s.pt").exists()


def test_distilling_what_can_be_exported_comes_to_an_artifact(tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", people=16, each=2)
    result = run_distill("folded_last", tmp_path, faces)
    assert result.exit_code == 0, result.output
    names(result.stderr, f"efq-export {tmp_path / 's.pt'} --bits 8 --target ort-cpu")
    assert load_student(tmp_path / "s.pt").training["steps"] == 2
    done = CliRunner().invoke(export, [str(tmp_path / "s.pt"), "-o", str(tmp_path / "artifact")])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("name", "target", "code"), [("relu_last", "ort-cpu", 1), ("strided", "openvino", 3)])
def test_calibrating_what_cannot_be_exported_does_not_begin(name: str, target: str, code: int, tmp_path: Path) -> None:
    arguments = (make(name, tmp_path), "--backbone", f"odd_networks:{name}", "--calibrate", tmp_path / "absent")
    options = ("--target", target, "-o", tmp_path / "artifact")
    result = CliRunner().invoke(export, [str(argument) for argument in (*arguments, *options)])
    assert result.exit_code == code, result.output
    assert not (tmp_path / "artifact").exists()
