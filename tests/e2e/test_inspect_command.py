"""efq-inspect as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from artifacts import make_artifact, make_manifest
from click.testing import CliRunner, Result
from messages import names
from networks import make_student, randomize, teacher_network, write_faces

from efq.export import export_student, find_target
from efq.export.inspect_command import main
from efq.runtime.artifact.folder import ENGINE_FOLDER
from efq.runtime.tensorrt.build.builder import PLAN_FILE
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import write_options
from efq.toolchain.student import load_student, save_student


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with student.pt (4-bit weights, the down.0.0 layer kept at 8), its artifact/ and faces/."""
    root = tmp_path_factory.mktemp("inputs")
    network = randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4))
    save_student(make_student(network, size=112, weight_bits=4, keep_8bit=("down.0.0",)), root / "student.pt")
    export_student(load_student(root / "student.pt"), find_target("ort-cpu"), root / "artifact", bits=4)
    write_faces(root / "faces")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_student(inputs: Path) -> None:
    result = run(inputs / "student.pt", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = json.loads(result.stdout)
    layers = {layer["layer"]: layer for layer in found["layers"]}
    assert found["bits"] == {"weights": 4, "activations": 8}
    assert found["weights"] == sum(layer["weights"] for layer in layers.values())
    assert layers["stem.0"]["weight_bits"] == layers["fc"]["weight_bits"] == layers["down.0.0"]["weight_bits"] == 7
    assert layers["down.1.0"] | {"layer": ""} == {
        "layer": "", "kind": "depthwise", "shape": [16, 1, 3, 3], "weights": 144, "weight_bits": 4,
        "weight_bytes": 72, "output_bits": 8,
    }  # fmt: skip
    assert layers["fc"]["output_bits"] is None
    assert "sensitivity" not in found
    names(run(inputs / "student.pt").stdout, "down.1.0", "depthwise", "16x1x3x3")


def test_an_artifact(inputs: Path) -> None:
    found = json.loads(run(inputs / "artifact", "--json").stdout)
    assert found["coverage"]["multiply_adds"]["fraction"] == 1.0
    assert found["bytes"]["model.onnx"] == (inputs / "artifact" / "model.onnx").stat().st_size
    assert found["bits"] == {"weights": 4, "activations": 8}
    names(run(inputs / "artifact").stdout, "ort-cpu")


def test_an_artifact_whose_recipe_has_no_name(tmp_path: Path) -> None:
    found = json.loads(run(make_artifact(tmp_path / "artifact"), "--json").stdout)
    assert found["recipe"] == "unnamed"
    assert run(tmp_path / "artifact").exit_code == 0


def test_the_engine_of_an_artifact(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path / "artifact", manifest=make_manifest(target="trt"))
    write_options(artifact / ENGINE_FOLDER, BuildOptions())
    (artifact / ENGINE_FOLDER / PLAN_FILE).write_bytes(b"12345")
    found = json.loads(run(artifact, "--json").stdout)
    assert found["bytes"]["engine/model.plan"] == 5
    assert set(found["bytes"]) == {
        *("checksums.sha256", "engine/model.plan", "engine/options.json", "manifest.json", "model.onnx"),
    }


def test_sensitivity_ranks_layers(inputs: Path) -> None:
    result = run(inputs / "student.pt", "--sensitivity", "--faces", inputs / "faces", "--max-images", 8, "--json")
    assert result.exit_code == 0, result.output
    costs = json.loads(result.stdout)["sensitivity"]
    values = [cost["cost"] for cost in costs]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0
    weights = {cost["layer"]: cost["bits"] for cost in costs if cost["weights"]}
    assert (weights["down.0.0"], weights["down.1.0"]) == (7, 4)
    shown = run(inputs / "student.pt", "--sensitivity", "--faces", inputs / "faces", "--max-images", 8).stdout
    names(shown, *(cost["layer"] for cost in costs))


def test_sensitivity_at_other_bits(inputs: Path) -> None:
    options = ("--sensitivity", "--faces", inputs / "faces", "--max-images", 8, "--json", "--bits", 3)
    costs = json.loads(run(inputs / "student.pt", *options).stdout)["sensitivity"]
    assert {(cost["weights"], cost["bits"]) for cost in costs} == {(True, 3)}


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        (("student.pt", "--sensitivity"), 2, ("--faces", "--sensitivity")),
        (("student.pt", "--faces", "faces"), 2, ("--faces", "--sensitivity")),
        (("student.pt", "--bits", "4"), 2, ("--bits", "--sensitivity")),
        (("student.pt", "--sensitivity", "--faces", "faces", "--max-images", "0"), 2, ("--max-images", "0")),
        (("artifact", "--sensitivity", "--faces", "faces"), 2, ("--sensitivity", "artifact", "student.pt")),
        (("faces",), 5, ("faces/manifest.json",)),
        (("missing.pt",), 1, ("missing.pt",)),
        (("student.pt", "--sensitivity", "--faces", "missing"), 1, ("missing",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_arguments(
    inputs: Path, arguments: tuple[str, ...], code: int, facts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inputs)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    names(result.stderr, *facts)
    assert "Traceback" not in result.stderr


def test_the_probe_of_an_artifact(inputs: Path, tmp_path: Path) -> None:
    """As a user checks the pipeline that serves model.onnx elsewhere: probe.png through it, the numbers as text."""
    artifact = inputs / "artifact"
    found = json.loads(run(artifact, "--json").stdout)["probe"]
    assert (found["backend"], found["least"]) == ("onnxruntime", 0.999)
    assert found["cosine"] == pytest.approx(1, abs=1e-6)
    image = cv2.imread(str(artifact / "probe.png"))  # BGR, as OpenCV reads it
    session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=["CPUExecutionProvider"])
    mine = tmp_path / "mine.txt"
    mine.write_text("\n".join(map(str, session.run(None, {"images": image[None, :, :, ::-1]})[0][0])))
    assert json.loads(run(artifact, "--probe", mine, "--json").stdout)["probe"]["cosine"] == pytest.approx(1, abs=1e-6)
    for wrong, fault in (
        (image, "red and blue are exchanged"),
        (image[:, ::-1, ::-1], "the image is mirrored"),
        (image[..., ::-1] // 2 + 127, "half of their range"),
    ):
        mine.write_text(json.dumps(session.run(None, {"images": np.ascontiguousarray(wrong)[None]})[0].tolist()))
        result = run(artifact, "--probe", mine)
        assert result.exit_code == 5
        names(result.stderr, mine, "0.999", fault)


def test_what_is_no_embedding_of_a_probe(inputs: Path, tmp_path: Path) -> None:
    for content, fact in (("a, b", "'a'"), ("1 2 3", 16), ("", 16)):
        (tmp_path / "mine.txt").write_text(content)
        result = run(inputs / "artifact", "--probe", tmp_path / "mine.txt")
        assert result.exit_code == 1
        names(result.stderr, tmp_path / "mine.txt", fact)
    result = run(inputs / "student.pt", "--probe", tmp_path / "mine.txt")
    assert result.exit_code == 2
    (tmp_path / "mine.txt").write_text(" ".join(["0.25"] * 16))
    result = run(make_artifact(tmp_path / "older"), "--probe", tmp_path / "mine.txt")
    assert result.exit_code == 2
