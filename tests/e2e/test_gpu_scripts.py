"""The scripts for a machine with a GPU, as far as they run without one."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner, Result
from gpus import CUDA_PACKAGES
from messages import names
from networks import TEACHER, make_teacher, write_faces

from efq.benchmarks.gpu import bench_students, check_cuda, distill_iresnets
from efq.benchmarks.gpu.check_cuda import read_results
from efq.runtime.tensorrt.module import is_installed
from efq.toolchain.backbones import load_backbone
from efq.toolchain.student import load_student

NO_GPU = pytest.mark.skipif(bool(CUDA_PACKAGES), reason="this machine has a GPU")
RECIPE = 'activation = "prelu"\nsymmetric_activations = true\nidentities_per_batch = 4\ncalibration_images = 8\n'


@pytest.fixture(autouse=True)
def _environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The steps are processes: they find the tiny network and the cache of faces through the environment."""
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "inputs"
    folder.mkdir()
    make_teacher(folder / "tiny.pt")
    write_faces(folder / "faces", people=6, each=4)
    paths = sorted(path.relative_to(folder / "faces").as_posix() for path in (folder / "faces").rglob("*.png"))
    (folder / "train.txt").write_text("\n".join(paths[:12]) + "\n")
    (folder / "dev.txt").write_text("\n".join(paths[12:]) + "\n")
    (folder / "recipe.toml").write_text(RECIPE)
    return folder


def run(script: ModuleType, *arguments: object) -> Result:
    return CliRunner().invoke(script.main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("script", [check_cuda, distill_iresnets, bench_students])
def test_help(script: ModuleType) -> None:
    result = run(script, "--help")
    assert result.exit_code == 0
    names(result.stdout, "--dry-run")
    assert importlib.util.find_spec(script.__name__) is not None


def test_check_cuda_says_what_it_would_run(tmp_path: Path) -> None:
    result = run(check_cuda, "--dry-run", "-o", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    names(result.stdout, "-m pytest")
    names(result.stderr, "cuda-python", "pycuda", "torch")
    assert not (tmp_path / "out.json").exists()


@NO_GPU
def test_check_cuda_without_a_gpu(tmp_path: Path) -> None:
    result = run(check_cuda, "-o", tmp_path / "out.json")
    assert result.exit_code == 4
    names(result.stderr, "cuda-python", "pycuda", "torch", "efq-doctor")
    assert not (tmp_path / "out.json").exists()


def test_pytest_s_results_are_read(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(
        '<testsuites><testsuite><testcase classname="tests.gpu.test_a" name="test_one[torch]" time="0.5"/>'
        '<testcase classname="tests.gpu.test_a" name="test_two" time="0.1"><skipped message="no graphs"/></testcase>'
        '<testcase classname="tests.gpu.test_b" name="test_three" time="2"><failure message="assert 1"/></testcase>'
        '<testcase classname="tests.gpu.test_b" name="test_four" time="2"><error message="crash"/></testcase>'
        "</testsuite></testsuites>"
    )
    found = read_results(tmp_path / "results.xml")
    assert [(test["name"], test["outcome"], test["reason"]) for test in found] == [
        ("test_a::test_one[torch]", "passed", None),
        ("test_a::test_two", "skipped", "no graphs"),
        ("test_b::test_three", "failed", "assert 1"),
        ("test_b::test_four", "failed", "crash"),
    ]
    assert found[0]["seconds"] == 0.5
    assert read_results(tmp_path / "none.xml") == []


def test_distillation_as_it_would_run(inputs: Path, tmp_path: Path) -> None:
    data = ("--faces", inputs / "faces", "--list", inputs / "train.txt")
    out = tmp_path / "out"
    result = run(distill_iresnets, "--random", *data, "--steps", 20, "-o", out, "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"efq-distill {out}/{name}_random_teacher.pt --accept-teacher --faces {inputs}/faces --list {inputs}/train.txt "
        f"--recipe tensorrt --steps 20 --device cuda -o {out}/{name}.pt"
        for name in ("iresnet50", "iresnet100")
    ]
    assert not out.exists()
    given = ("--teacher", "a/r50.pt", "--dev-list", inputs / "dev.txt", "--device", "cuda:1")
    lines = run(distill_iresnets, *given, *data, "-o", out, "--dry-run").stdout.splitlines()
    assert lines[0].startswith("efq-distill a/r50.pt ")
    assert lines[1] == (
        f"efq-evaluate {out}/r50.pt --reference a/r50.pt --faces {inputs}/faces --list {inputs}/dev.txt "
        "--device cuda:1 --json"
    )


def test_distillation_for_real_on_the_cpu(inputs: Path, tmp_path: Path) -> None:
    """The driver itself, with a tiny teacher; run again it goes on from what is there."""
    out = tmp_path / "out"
    arguments = ["--teacher", inputs / "tiny.pt", "--backbone", TEACHER, "--faces", inputs / "faces", "--device", "cpu"]
    arguments += ["--list", inputs / "train.txt", "--dev-list", inputs / "dev.txt", "--steps", 60]
    arguments += ["--recipe", inputs / "recipe.toml", "-o", out]
    result = run(distill_iresnets, *arguments)
    assert result.exit_code == 0, result.output
    report = json.loads((out / "report.json").read_text())
    (row,) = report["networks"]
    assert row["network"] == "tiny"
    assert row["training"]["steps"] == 60
    assert row["images_per_second"] == pytest.approx(60 * 8 / row["training"]["seconds"], rel=0.05)
    assert row["wall_seconds"] > row["training"]["seconds"]
    assert row["accuracy"]["all_pairs"]["images"] == 12
    assert row["accuracy"]["reference"]["kind"] == "teacher"
    assert report["device"] == {"device": "cpu", "torch": torch.__version__, "torch_cuda": torch.version.cuda}
    again = run(distill_iresnets, *arguments)
    assert again.exit_code == 0, again.output
    (second,) = json.loads((out / "report.json").read_text())["networks"]
    assert second["accuracy"] == row["accuracy"]
    assert "wall_seconds" not in second
    assert load_student(out / "tiny.pt").training["steps"] == 60


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ([], ("--teacher", "--random")),
        (["--random", "--teacher", "a.pt"], ("--teacher", "--random")),
        (["--teacher", "a.pt", "--network", "iresnet50"], ("--random", "--network")),
        (["--teacher", "a/r.pt", "--teacher", "b/r.pt"], ("r, r",)),
        (["--random", "--dev-list", "dev.txt"], ("--dev-list", "--random")),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, arguments: list[str], facts: tuple[str, ...]) -> None:
    result = run(distill_iresnets, *arguments, "--faces", "faces", "-o", tmp_path / "out")
    assert result.exit_code == 2
    names(result.stderr, *facts)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_distillation_without_a_gpu(inputs: Path, tmp_path: Path) -> None:
    result = run(distill_iresnets, "--random", "--faces", inputs / "faces", "-o", tmp_path / "out")
    assert result.exit_code == 4
    assert not (tmp_path / "out").exists()


def test_a_step_that_fails_ends_with_its_exit_code(inputs: Path, tmp_path: Path) -> None:
    arguments = ("--teacher", tmp_path / "none.pt", "--faces", inputs / "faces", "--device", "cpu")
    result = run(distill_iresnets, *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 1
    names(result.stderr, f"efq-distill {tmp_path / 'none.pt'}")


def test_random_teachers_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("first.pt", "second.pt"):
        distill_iresnets.write_random_teacher("iresnet18", tmp_path / name)
    (found, first), (_, second) = (load_backbone(tmp_path / name) for name in ("first.pt", "second.pt"))
    assert found.name == "iresnet18"
    assert all(
        torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.fixture
def students(tmp_path: Path, inputs: Path) -> Path:
    folder = tmp_path / "students"
    folder.mkdir()
    row = {"network": "tiny", "teacher": str(inputs / "tiny.pt"), "student": str(folder / "tiny.pt"), "hours": 1}
    (folder / "report.json").write_text(json.dumps({"networks": [row]}))
    return folder


def test_the_bench_of_students_as_it_would_run(students: Path, inputs: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(bench_students, students, "--target", "trt", "-o", out, "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"efq-export {students}/tiny.pt --target trt --batch 1,8,64 --device cuda:0 --force -o {out}/tiny",
        f"efq-bench {out}/tiny --teacher {inputs}/tiny.pt --target trt --batch 1,8,64 --device cuda:0 --json --force "
        f"-o {out}/tiny_report",
    ]
    wrong = run(bench_students, tmp_path, "--target", "trt", "-o", out, "--dry-run")
    assert wrong.exit_code == 1
    names(wrong.stderr, tmp_path / "report.json", "distill_iresnets")


@NO_GPU
@pytest.mark.skipif(not is_installed("trt-rtx"), reason="tensorrt-rtx is not installed")
def test_the_bench_of_students_stops_where_a_gpu_is_needed(students: Path, inputs: Path, tmp_path: Path) -> None:
    made = ["--teacher", inputs / "tiny.pt", "--backbone", TEACHER, "--faces", inputs / "faces", "--device", "cpu"]
    assert run(distill_iresnets, *made, "--recipe", inputs / "recipe.toml", "--steps", 1, "-o", students).exit_code == 0
    arguments = ("--target", "trt-rtx", "--batch", "1,2,4", "--backbone", TEACHER)
    result = run(bench_students, students, *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 4, result.output
    names(result.stderr, f"efq-bench {tmp_path / 'out' / 'tiny'}")
    assert (tmp_path / "out" / "tiny" / "engine" / "model.plan").is_file()
