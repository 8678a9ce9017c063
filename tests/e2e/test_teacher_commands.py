"""A teacher trained on BGR in 0..1, whose file does not say so, in every command that takes teachers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from networks import make_pattern_teacher, write_faces

from efq.benchmarks.bench_command import main as bench
from efq.export.export_command import main as export
from efq.runtime import Embedder
from efq.toolchain.distill_command import main as distill
from efq.toolchain.evaluate_command import main as evaluate

PATTERNS = ("--backbone", "networks:pattern_network")
ADVICE = "--teacher-input bgr,0..1"
RIGHT = ("--teacher-input", "bgr,0..1")
RECIPE = 'activation = "relu"\nsteps = 2\nidentities_per_batch = 4\ncalibration_images = 40\nfitting_images = 16\n'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher.pt, tiny.toml, faces/ of 40 people, more/ of these and as many others, and their list."""
    root = tmp_path_factory.mktemp("inputs")
    make_pattern_teacher(root / "teacher.pt", lambda images: images.flip(1) / 255)
    (root / "tiny.toml").write_text(RECIPE)
    write_faces(root / "faces", people=40, each=2)
    write_faces(root / "more", people=80, each=2)
    unseen = [f"p{person}/{place}.png\n" for person in range(40, 80) for place in (0, 1)]
    (root / "unseen.txt").write_text("".join(unseen))
    return root


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_distil_export_and_bench(inputs: Path, tmp_path: Path) -> None:
    """Said once, to efq-distill: the artifact takes RGB bytes, and efq-bench finds what the teacher was fed."""
    teacher, student, artifact = inputs / "teacher.pt", tmp_path / "student.pt", tmp_path / "artifact"
    made = ("--faces", inputs / "faces", "--recipe", inputs / "tiny.toml", "--threads", 1, "-o", student)
    refused = run(distill, teacher, *PATTERNS, *made)
    assert (refused.exit_code, refused.stdout, student.exists()) == (3, "", False), refused.output
    names(refused.stderr, ADVICE, "--accept-teacher")
    assert run(distill, teacher, *PATTERNS, *made, *RIGHT).exit_code == 0
    assert run(export, student, "-o", artifact).exit_code == 0
    assert Embedder.open(artifact, threads=1).manifest.recipe["training"]["teacher_input"] == "bgr,0..1"
    assert json.loads((artifact / "parity.json").read_text())["export_check"]["mean_cosine_of_different_images"] < 0.9
    names((artifact / "README.md").read_text(), "bgr,0..1", "d-prime")
    compared = ("--faces", inputs / "more", "--list", inputs / "unseen.txt", "--rounds", 10, "--seconds", 0.1)
    result = run(bench, artifact, "--teacher", teacher, *PATTERNS, *compared, "-o", tmp_path / "report", "--json")
    assert result.exit_code == 0, result.output
    pair, *_ = json.loads(result.stdout)["accuracy"]["parity"]  # others by faster backends of this machine
    assert pair["cosine_mean"] > 0.97
    assert pair["cosine_different"] < 0.2
    wrong = ("--teacher-input", "rgb,-1..1", "-o", tmp_path / "other")
    assert run(bench, artifact, "--teacher", teacher, *PATTERNS, *compared, *wrong).exit_code == 3


def test_calibrate(inputs: Path, tmp_path: Path) -> None:
    teacher, artifact = inputs / "teacher.pt", tmp_path / "artifact"
    options = ("--calibrate", inputs / "faces", *PATTERNS, "-o", artifact)
    refused = run(export, teacher, *options)
    assert (refused.exit_code, refused.stdout, artifact.exists()) == (3, "", False), refused.output
    names(refused.stderr, ADVICE)
    result = run(export, teacher, *options, *RIGHT)
    assert result.exit_code == 0, result.output
    names(result.stderr, "16 held-out faces")
    kept = run(export, teacher, *options, "--accept-teacher", "--force")
    assert kept.exit_code == 0, kept.output
    names(kept.stderr, ADVICE)


@pytest.mark.parametrize("bias", [0.0, 1.0], ids=["zero", "constant"])
def test_a_teacher_that_embeds_nothing_is_named(inputs: Path, bias: float, tmp_path: Path) -> None:
    """And not the student, which a rehearsal makes of it before any face is seen."""
    weights = torch.load(inputs / "teacher.pt", weights_only=True)
    weights["3.weight"].zero_()
    weights["3.bias"].fill_(bias)
    torch.save(weights, tmp_path / "none.pt")
    options = ("--calibrate", inputs / "faces", *PATTERNS, "--accept-teacher", "-o", tmp_path / "artifact")
    result = run(export, tmp_path / "none.pt", *options)
    assert (result.exit_code, result.stdout) == (3, ""), result.output
    names(result.stderr, "the teacher networks:pattern_network", "80 images")
    assert not (tmp_path / "artifact").exists()


def test_evaluate(inputs: Path) -> None:
    teacher, faces = inputs / "teacher.pt", ("--faces", inputs / "faces", "--threads", 1, "--json")
    warned, silent = run(evaluate, teacher, *PATTERNS, *faces), run(evaluate, teacher, *PATTERNS, *faces, *RIGHT)
    assert (warned.exit_code, silent.exit_code) == (0, 0), warned.output + silent.output
    names(warned.stderr, ADVICE)
    assert ADVICE not in silent.stderr


@pytest.mark.parametrize(
    ("value", "code"), [("grb", 2), ("0..2", 2), ("160x160", 1), ("127.5/0", 2), ("bgr,rgb", 2), ("", 2)]
)
def test_inputs_that_no_teacher_has(inputs: Path, value: str, code: int, tmp_path: Path) -> None:
    options = ("--faces", inputs / "faces", "--steps", 0, "--teacher-input", value, "-o", tmp_path / "student.pt")
    result = run(distill, inputs / "teacher.pt", *PATTERNS, *options)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    names(result.stderr, value or "--teacher-input")
    assert not list(tmp_path.glob("student*"))
