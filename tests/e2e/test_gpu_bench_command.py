"""efq-bench --target: engines by the real TensorRT-RTX builder, run on a fake GPU that computes their graphs."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result
from fake_cuda import FakeCuda
from fake_tensorrt import make_module, make_onnx_plan
from messages import names
from networks import TEACHER, make_faces, make_teacher, write_faces

from efq.benchmarks.bench_command import main
from efq.benchmarks.engines import engine_bench, engine_sources
from efq.export.export_command import main as export
from efq.runtime.artifact.parity import ParityRecord
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.errors import EfqError
from efq.runtime.tensorrt import engine_cache
from efq.runtime.tensorrt import open as engine_open
from efq.runtime.tensorrt.build import builder
from efq.runtime.tensorrt.build.builder import BuiltEngine
from efq.toolchain.distillation import distill
from efq.toolchain.recipes.recipe import Recipe

MILLISECONDS = {"int8": 3.0, "float16": 2.0, "float32": 5.0}
EVENT = 0.5  # what the fake's clock moves at each event


def _has_gpu() -> bool:
    try:
        return open_cuda().device_count() > 0
    except EfqError:
        return False


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher.pt, artifacts trt-rtx/ and small-batches/ without engines, ort-cpu/, faces/."""
    root = tmp_path_factory.mktemp("inputs")
    recipe = Recipe(name="tiny", activation="prelu", symmetric_activations=True, steps=0, identities_per_batch=4)
    distill(make_teacher(root / "teacher.pt"), make_faces(), recipe, root / "student.pt")
    unsigned = dataclasses.replace(recipe, symmetric_activations=False)
    distill(make_teacher(root / "teacher.pt"), make_faces(), unsigned, root / "unsigned.pt")
    for name, student, options in (
        ("trt-rtx", "student.pt", ("--target", "trt-rtx", "--no-engine", "--batch", "1,4,8")),
        ("small-batches", "student.pt", ("--target", "trt-rtx", "--no-engine", "--batch", "1,2,4")),
        ("ort-cpu", "unsigned.pt", ("--target", "ort-cpu")),
    ):
        result = CliRunner().invoke(export, [str(root / student), *options, "-o", str(root / name)])
        assert result.exit_code == 0, result.output
    write_faces(root / "faces", people=22, each=6)
    for person in range(8):  # who the students were made on
        shutil.rmtree(root / "faces" / f"p{person}")
    return root


@pytest.fixture
def artifact(inputs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(inputs / "trt-rtx", tmp_path / "artifact")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """A fake GPU. Plans are built for real, then replaced by ones that it can run, of known GPU time."""
    tensorrt = pytest.importorskip("tensorrt_rtx")
    cuda = FakeCuda()
    module = make_module(cuda, "rtx")
    module.__version__ = tensorrt.__version__

    def build_engine(target: str, model: Path, folder: Path, options: Any, **rest: Any) -> BuiltEngine:
        built = builder.build_engine(target, model, folder, options, **rest)
        kept = tmp_path / f"{len(list(tmp_path.glob('*.onnx')))}.onnx"
        shutil.copyfile(model, kept)
        plan = make_onnx_plan(kept, options.batches, milliseconds=MILLISECONDS[precision_of(kept)])
        built.plan.write_bytes(plan)
        return built

    for place in (engine_bench, engine_open):
        monkeypatch.setattr(place, "open_cuda", lambda device: cuda)
        monkeypatch.setattr(place, "import_tensorrt", lambda target: module)
    monkeypatch.setattr(engine_sources, "import_tensorrt", lambda target: module)
    for place in (engine_sources, engine_cache):
        monkeypatch.setattr(place, "build_engine", build_engine)
    return cuda


def precision_of(path: Path) -> str:
    nodes = {node.name for node in onnx.load(path).graph.node}
    return "float16" if "to_half" in nodes else "float32" if "subtract_mean" in nodes else "int8"


def bench(inputs: Path, *arguments: object) -> Result:
    teacher = ["--teacher", inputs / "teacher.pt", "--backbone", TEACHER, "--target", "trt-rtx", "--rounds", "12"]
    return CliRunner().invoke(main, [str(argument) for argument in (*teacher, *arguments)])


def test_three_engines_in_one_table(inputs: Path, artifact: Path, gpu: FakeCuda, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = bench(inputs, artifact, "--rebuild", "--batch", "1,8", "--json", "-o", out)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    networks = [network["name"] for network in found["networks"]]
    assert networks[:2] == ["teacher float32 (TensorRT)", "teacher float16 (TensorRT)"]
    assert found["reference"] == networks[0]
    assert [(setting["batch"], setting["threads"]) for setting in found["latency"]] == [(1, 1), (8, 1)]
    device = found["gpu"]
    assert [engine["precision"] for engine in device["engines"]] == ["float32", "float16", "int8"]
    assert [engine["products"] for engine in device["engines"]] == [
        *("10 float32", "10 float16", "not measured at export"),
    ]
    assert all(engine["plan_bytes"] > 0 and engine["device_bytes"] > 0 for engine in device["engines"])
    for setting in device["settings"]:
        times = {time["network"]: time for time in setting["networks"]}
        for engine in device["engines"]:
            expected = MILLISECONDS[engine["precision"]] + EVENT
            assert times[engine["network"]]["p50_ms"] == pytest.approx(expected)
            assert times[engine["network"]]["rounds"] == 12
    assert device["machine"]["driver"] == "unknown"
    report = (out / "report.md").read_text(encoding="utf-8")
    slower = [line for line in report.splitlines() if "INT8" in line and "slower" in line]
    assert len(slower) == len(device["settings"])
    for line, setting in zip(slower, device["settings"], strict=True):
        names(line, "FP16", f"batch {setting['batch']}")
    assert {path.name for path in (out / "plots").iterdir()} == {
        *("latency_batch1_threads1.png", "latency_batch8_threads1.png", "throughput.png"),
    }
    assert gpu.live() == {"device": 0, "pinned": 0, "streams": 0, "events": 0, "graphs": 0}


def test_accuracy_of_all_three_on_faces(inputs: Path, artifact: Path, gpu: FakeCuda, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("--rebuild", "--faces", inputs / "faces", "--min-cosine", 0.9, "--json", "-o", out)
    result = bench(inputs, artifact, *arguments)
    assert result.exit_code == 0, result.output
    accuracy = json.loads(result.stdout)["accuracy"]
    assert (accuracy["images"], accuracy["identities"]) == (84, 14)
    assert len(accuracy["networks"]) == 3
    half, integer = accuracy["parity"]
    assert half["cosine_min"] > 0.9999
    assert 0.9 < integer["cosine_min"] < half["cosine_min"]
    evaluation = ParityRecord.from_json((artifact / "parity.json").read_text(encoding="utf-8")).evaluation
    assert evaluation is not None
    assert (evaluation.machine, evaluation.faces.images) == ("Fake", 84)
    again = bench(inputs, artifact, "-o", tmp_path / "again")  # the engine that was built is kept
    assert again.exit_code == 0, again.output


def test_an_artifact_without_an_engine_says_what_to_do(
    inputs: Path, artifact: Path, gpu: FakeCuda, tmp_path: Path
) -> None:
    result = bench(inputs, artifact, "-o", tmp_path / "out")
    assert result.exit_code == 5
    names(result.stderr, artifact / "engine", "--rebuild")
    assert not (tmp_path / "out").exists()
    assert gpu.live()["device"] == 0


@pytest.mark.parametrize(
    ("directories", "arguments", "named"),
    [
        (["ort-cpu"], [], ["ort-cpu", "--target trt-rtx"]),
        (["trt-rtx", "ort-cpu"], [], ["ort-cpu", "--target trt-rtx"]),
        (["trt-rtx", "small-batches"], [], ["trt-rtx", "small-batches"]),
        (["trt-rtx"], ["--batch", "1,9"], ["1", "8", "9"]),
        (["trt-rtx"], ["--peers"], ["--peers"]),
        (["trt-rtx"], ["--threads", "2"], ["--threads"]),
    ],
)
def test_usage_errors(
    inputs: Path, tmp_path: Path, directories: list[str], arguments: list[str], named: list[str]
) -> None:
    folders = [inputs / name for name in directories]
    result = bench(inputs, *folders, *arguments, "-o", tmp_path / "out")
    assert result.exit_code == 2, result.output
    names(result.stderr, *named)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [["--device", "cuda:0"], ["--rebuild"]])
def test_options_of_engines_need_a_target(inputs: Path, tmp_path: Path, arguments: list[str]) -> None:
    command = [
        str(inputs / "ort-cpu"),
        "--teacher",
        str(inputs / "teacher.pt"),
        *arguments,
        "-o",
        str(tmp_path / "out"),
    ]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2
    names(result.stderr, "--target", "trt", "trt-rtx")


@pytest.mark.parametrize("others", [[], ["ort-cpu"]])
def test_an_artifact_for_gpus_needs_a_target(inputs: Path, tmp_path: Path, others: list[str]) -> None:
    folders = [str(inputs / name) for name in (*others, "trt-rtx")]
    command = [*folders, "--teacher", str(inputs / "teacher.pt"), "--backbone", TEACHER, "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 2, result.output
    names(result.stderr, inputs / "trt-rtx", "--target trt-rtx", "ort-cpu")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(_has_gpu(), reason="this machine has a GPU")
def test_without_a_gpu_nothing_is_written(inputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    result = bench(inputs, inputs / "trt-rtx", "--rebuild", "-o", tmp_path / "out")
    assert result.exit_code == 4, result.output
    names(result.stderr, "cuda:0")
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []
