"""efq-distill as a user runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from networks import TEACHER, make_teacher, write_faces

from efq.toolchain.backbones import backbone_names
from efq.toolchain.distill_command import main
from efq.toolchain.distillation.resume import resume_path
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.recipes.recipe import recipe_names
from efq.toolchain.student import load_student

RECIPE = 'activation = "relu"\nsteps = 4\nidentities_per_batch = 4\ncalibration_images = 16\nfitting_images = 16\n'


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with teacher.pt, tiny.toml and faces/."""
    root = tmp_path_factory.mktemp("inputs")
    make_teacher(root / "teacher.pt")
    (root / "tiny.toml").write_text(RECIPE)
    write_faces(root / "faces")
    return root


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--threads", 1)])


def distill(inputs: Path, output: Path, *arguments: object) -> Result:
    common = ("--faces", inputs / "faces", "--recipe", inputs / "tiny.toml", "--backbone", TEACHER, "-o", output)
    return run(inputs / "teacher.pt", *common, *arguments)


def test_makes_a_student(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "student.pt"
    result = distill(inputs, output, "--teacher-licence", "MIT", "--data-licence", "CC0")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    names(
        result.stderr, "networks:teacher_network", "24 faces", "8 identities", "tiny", "replace_prelu", "32/32 images"
    )
    names(result.stderr, f"efq-export {output} --bits 8 --target ort-cpu")
    student = load_student(output)
    assert (student.training["steps"], student.training["images"]) == (4, 32)
    assert (student.teacher["licence"], student.data["licence"]) == ("MIT", "CC0-1.0")
    assert len(student.training_hashes) == 24


def test_options_change_the_recipe(inputs: Path, tmp_path: Path) -> None:
    options = ("--steps", 2, "--learning-rate", 0.001, "--metric-weight", 0.5, "--max-images", 15, "--seed", 3)
    options += ("--keep-8bit", "stem.*", "--keep-8bit", "fc")
    result = distill(inputs, tmp_path / "student.pt", *options)
    assert result.exit_code == 0, result.output
    student = load_student(tmp_path / "student.pt")
    assert [getattr(student.recipe, key) for key in ("steps", "learning_rate", "metric_weight")] == [2, 0.001, 0.5]
    assert (student.data["images"], student.training["seed"]) == (15, 3)
    assert student.recipe.keep_8bit == ("stem.*", "fc")
    assert {"loss", "genuine", "impostor"} <= set(student.training)


@pytest.mark.parametrize(("options", "bits"), [((), 7), (("--full-range",), 8)])
def test_weights_have_seven_bits_unless_the_full_range_is_asked_for(
    inputs: Path, options: tuple[str, ...], bits: int, tmp_path: Path
) -> None:
    result = distill(inputs, tmp_path / "student.pt", "--steps", 1, *options)
    assert result.exit_code == 0, result.output
    names(result.stderr, " ".join(["--bits 8 --target ort-cpu", *options, "-o DIR"]))
    student = load_student(tmp_path / "student.pt")
    assert student.bits == {"weights": bits, "activations": 8}
    widths = {module.bits for module in student.network.modules() if isinstance(module, WeightQuantizer)}
    assert widths == {bits}


def test_the_same_command_makes_the_same_weights(inputs: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "one.pt", tmp_path / "two.pt"]
    for output in outputs:
        assert distill(inputs, output).exit_code == 0
    first, second = (load_student(output).network.state_dict() for output in outputs)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_existing_student_stays(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "student.pt"
    output.write_text("precious")
    result = distill(inputs, output)
    assert result.exit_code == 2
    names(result.stderr, output, "--force")
    assert output.read_text() == "precious"
    assert distill(inputs, output, "--force", "--steps", 1).exit_code == 0
    load_student(output)


def test_an_unreadable_image_is_named_and_counted(inputs: Path, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces")
    (faces / "p3" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    result = distill(inputs, tmp_path / "student.pt", "--faces", faces)
    assert result.exit_code == 0, result.output
    names(result.stderr, "p3/1.png", "23 faces", "8 identities")
    assert load_student(tmp_path / "student.pt").data["images"] == 23


def test_nothing_to_resume(inputs: Path, tmp_path: Path) -> None:
    result = distill(inputs, tmp_path / "student.pt", "--resume")
    assert result.exit_code == 1
    names(result.stderr, resume_path(tmp_path / "student.pt"), "--resume")


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        (("--faces", "missing"), 1, ("missing",)),
        (("--faces", "empty"), 1, ("empty",)),
        (("--recipe", "missing"), 2, ("missing", *recipe_names(), ".toml")),
        (("--recipe", "tensorrt", "--full-range"), 2, ("--full-range", "tensorrt")),
        (("--recipe", "broken.toml"), 2, ("broken.toml",)),
        (("--backbone", "resnet"), 2, ("resnet", *backbone_names())),
        (("--backbone", "iresnet18"), 1, ("iresnet18", "--backbone")),
        (("--device", "tpu"), 4, ("tpu", "cpu")),
        (("--steps", "-1"), 2, ("--steps", "-1")),
        (("--learning-rate", "nan"), 2, ("--learning-rate", "nan")),
        (("--max-images", "0"), 2, ("--max-images", "0")),
        (("--max-images", "5"), 2, ("5", "4", "2")),
        (("--list", "missing.txt"), 1, ("missing.txt",)),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_wrong_arguments(
    inputs: Path,
    arguments: tuple[str, ...],
    code: int,
    facts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.toml").write_text("activation = ")
    result = distill(inputs, tmp_path / "student.pt", *arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    (error,) = [line for line in result.stderr.splitlines() if line.lower().startswith("error: ")]
    names(error, *facts)
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "student.pt").exists()


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\x03\x04"])
def test_a_teacher_that_is_none(inputs: Path, content: bytes | None, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher.pt"
    if content is not None:
        teacher.write_bytes(content)
    result = run(teacher, "--faces", inputs / "faces", "-o", tmp_path / "student.pt")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ")
    names(result.stderr, teacher)
    assert isinstance(result.exception, SystemExit)
