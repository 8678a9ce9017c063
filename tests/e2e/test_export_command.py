"""efq-export as a user runs it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names
from networks import (
    NETWORKS,
    TEACHER,
    draw_faces,
    make_student,
    make_teacher,
    randomize,
    teacher_network,
    write_faces,
)

from efq.export import find_target
from efq.export.export_command import main
from efq.export.inspection.inspect import inspect
from efq.runtime import Embedder
from efq.runtime.artifact.folder import Artifact
from efq.toolchain.graph.operations import WEIGHTED
from efq.toolchain.networks import torch_embedding
from efq.toolchain.recipes.recipe import recipe_names
from efq.toolchain.student import load_student, save_student

FILES = {
    *("README.md", "checksums.sha256", "manifest.json", "model.onnx", "parity.json", "training_data.json"),
    *("probe.json", "probe.png"),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with student.pt, full_range.pt, four_bits.pt, narrow.pt, teacher.pt and faces/."""
    root = tmp_path_factory.mktemp("inputs")
    network = randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4))
    save_student(make_student(network, size=112), root / "student.pt")
    save_student(make_student(network, size=112, full_range=True), root / "full_range.pt")
    save_student(make_student(network, size=112, weight_bits=4), root / "four_bits.pt")
    save_student(make_student(randomize(NETWORKS["bottleneck"]()), activation_bits=6), root / "narrow.pt")
    make_teacher(root / "teacher.pt")
    write_faces(root / "faces")
    return root


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    return


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def told_of(artifact: Path) -> tuple[list[str], list[str]]:
    """What the target says of an artifact: of its bits, printed and on the card, and of its limits, on the card."""
    manifest = Artifact.open(artifact).manifest
    target = find_target(manifest.target)
    return target.bit_sentences(manifest), target.card_sentences(manifest)


def test_exports_a_student(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    result = run(inputs / "student.pt", "--bits", 8, "--target", "ort-cpu", "-o", output)
    assert result.exit_code == 0, result.output
    assert {path.name for path in output.iterdir()} == FILES
    names(result.stdout, "multiply-adds", "100 %", "float islands", f"efq-embed {output}")
    names(result.stderr, "uncertified", f"efq-bench {output}", "--certify", "--uncertified")
    faces = draw_faces(4, 2)
    embedder = Embedder.open(output, threads=1, backend="onnxruntime")
    wanted = torch_embedding(load_student(inputs / "student.pt").network, torch.device("cpu"))(faces)
    found = embedder.embed(faces)
    assert float((found * wanted).sum(1).min()) > 0.999
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert embedder.manifest.name == "tiny-w7a8-ort-cpu"
    assert embedder.manifest.coverage["float_islands"] == []
    assert embedder.manifest.thresholds == {"1e-3": 0.5}
    assert json.loads((output / "training_data.json").read_text())["images"] == 2


def test_the_reason_for_no_certificate_is_kept(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    reason = "a prototype | never deployed"
    result = run(inputs / "student.pt", "-o", output, "--uncertified", reason)
    assert result.exit_code == 0, result.output
    assert "--certify" not in result.stderr
    parity = Artifact.open(output).parity()
    assert parity is not None
    assert parity.export_check is not None
    assert parity.export_check["uncertified"] == reason
    names((output / "README.md").read_text(encoding="utf-8"), "a prototype \\| never deployed")
    assert inspect(output)["certificate"] == {"certified": False, "reason": reason}


def test_exports_a_student_for_openvino(inputs: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    output = tmp_path / "artifact"
    result = run(inputs / "student.pt", "--target", "openvino", "-o", output)
    assert result.exit_code == 0, result.output
    names(result.stdout, "Integer coverage", "openvino", "float islands")
    embedder = Embedder.open(output, threads=1)
    assert embedder.manifest.target == "openvino"
    assert embedder.manifest.name == "tiny-w7a8-openvino"
    assert told_of(output)[1] == []
    assert embedder.manifest.coverage["runtime"].startswith("openvino ")
    assert embedder.manifest.coverage["float_islands"] == []
    faces = draw_faces(4, 2)
    wanted = torch_embedding(load_student(inputs / "student.pt").network, torch.device("cpu"))(faces)
    assert float((embedder.embed(faces) * wanted).sum(1).min()) > 0.995


def test_a_missing_openvino_ends_with_exit_code_4(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    result = run(inputs / "student.pt", "--target", "openvino", "-o", tmp_path / "artifact")
    assert result.exit_code == 4, result.output
    names(result.stderr, "openvino", "pip install 'efq[openvino]'")
    assert not (tmp_path / "artifact").exists()


def test_json(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    result = run(inputs / "student.pt", "-o", output, "--json", "--name", "mine")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["coverage"]["multiply_adds"]["fraction"] == 1.0
    assert report["parity"]["least_cosine_to_integer_student"] > 0.9999
    assert report["model_bytes"] == (output / "model.onnx").stat().st_size
    assert Embedder.open(output).manifest.name == "mine"


def test_dry_run_writes_nothing(inputs: Path, tmp_path: Path) -> None:
    for options in ((), ("-o", tmp_path / "artifact")):
        result = run(inputs / "student.pt", "--dry-run", *options)
        assert result.exit_code == 0, result.output
        names(result.stdout, "uint8 (N, 112, 112, 3) RGB")
        assert list(tmp_path.iterdir()) == []
    plan = json.loads(run(inputs / "student.pt", "--dry-run", "--json").stdout)
    assert plan["target"] == "ort-cpu"
    assert plan["bits"] == {"weights": 7, "activations": 8}
    assert plan["prelu_layers"] == {"prelu": 6}
    assert plan["operations"]["QuantizedConv2d"] == 9
    assert list(tmp_path.iterdir()) == []


def test_the_planned_size_is_that_of_the_file(inputs: Path, tmp_path: Path) -> None:
    plan = json.loads(run(inputs / "student.pt", "--dry-run", "--json").stdout)
    report = json.loads(run(inputs / "student.pt", "-o", tmp_path / "artifact", "--json").stdout)
    assert report["model_bytes"] - 4000 < plan["model_bytes"] <= report["model_bytes"]  # without the metadata


def test_other_bits(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs / "student.pt", "--bits", 4, "-o", tmp_path / "artifact")
    assert result.exit_code == 2
    names(result.stderr, "--bits 4", "8-bit", "--bits 8")
    assert run(inputs / "four_bits.pt", "-o", tmp_path / "artifact").exit_code == 2
    assert not (tmp_path / "artifact").exists()
    result = run(inputs / "four_bits.pt", "--bits", 4, "-o", tmp_path / "artifact")
    assert result.exit_code == 0, result.output
    assert Embedder.open(tmp_path / "artifact").manifest.bits == {"weights": 4, "activations": 8}
    (packed, every_cpu), _ = told_of(tmp_path / "artifact")
    names(packed, 4, "size", "time")
    names(result.stdout, packed, every_cpu)


@pytest.mark.parametrize("bits", [8, 7])
def test_weights_have_seven_bits_and_everything_says_so(inputs: Path, bits: int, tmp_path: Path) -> None:
    result = run(inputs / "student.pt", "--bits", bits, "-o", tmp_path / "artifact")
    assert result.exit_code == 0, result.output
    manifest = Embedder.open(tmp_path / "artifact", threads=1).manifest
    assert manifest.bits == {"weights": 7, "activations": 8}
    assert manifest.recipe["reduced_range"] is True
    assert "requantized" not in manifest.recipe
    (every_cpu,), limits = told_of(tmp_path / "artifact")
    assert limits == []
    names(every_cpu, "7 bits", "VNNI")
    for text in (result.stdout, (tmp_path / "artifact" / "README.md").read_text()):
        names(text, every_cpu)


def test_the_full_range_is_kept_for_a_student_that_has_it(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs / "full_range.pt", "--full-range", "-o", tmp_path / "artifact")
    assert result.exit_code == 0, result.output
    manifest = Embedder.open(tmp_path / "artifact", threads=1).manifest
    assert manifest.bits["weights"] == 8
    assert manifest.recipe["reduced_range"] is False
    bits, (saturation,) = told_of(tmp_path / "artifact")
    assert bits == []
    names(saturation, "8 bits", "--full-range", "VNNI")
    names((tmp_path / "artifact" / "README.md").read_text(), saturation)


def test_a_student_of_eight_bits_is_exported_with_seven(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs / "full_range.pt", "-o", tmp_path / "artifact", "--json")
    assert result.exit_code == 0, result.output
    (note,) = json.loads(result.stdout)["notes"]
    manifest = Embedder.open(tmp_path / "artifact", threads=1).manifest
    requantized = manifest.recipe["requantized"]
    assert manifest.bits["weights"] == requantized["widest_weight_bits"] == 7
    assert requantized["mean_cosine"] > 0.99
    names(note, requantized["layers"], "7 bits", f"{requantized['mean_cosine']:.4f}")


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (("student.pt", "--full-range"), ("--full-range", "7 bits", "efq-distill")),
        (("full_range.pt", "--full-range", "--target", "trt", "--no-engine"), ("--full-range", "trt")),
    ],
)
def test_a_full_range_that_changes_nothing(
    inputs: Path, arguments: tuple[str, ...], facts: tuple[str, ...], tmp_path: Path
) -> None:
    name, *options = arguments
    result = run(inputs / name, *options, "-o", tmp_path / "artifact")
    assert result.exit_code == 2, result.output
    names(result.stderr, *facts)
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize(("options", "bits"), [((), 7), (("--full-range",), 8)])
def test_calibrated_weights(inputs: Path, options: tuple[str, ...], bits: int, tmp_path: Path) -> None:
    calibrate = ("--calibrate", inputs / "faces", "--backbone", TEACHER, "-o", tmp_path / "artifact")
    assert run(inputs / "teacher.pt", *calibrate, *options).exit_code == 0
    assert Embedder.open(tmp_path / "artifact", threads=1).manifest.bits["weights"] == bits


def test_four_bits_are_stored_in_four_bits(inputs: Path, tmp_path: Path) -> None:
    sizes = {}
    for name, bits in (("student.pt", 8), ("four_bits.pt", 4)):
        result = run(inputs / name, "--bits", bits, "-o", tmp_path / name, "--json")
        assert result.exit_code == 0, result.output
        report = json.loads(result.stdout)
        assert report["coverage"]["multiply_adds"]["fraction"] == 1.0
        sizes[bits] = report["model_bytes"]
    student = load_student(inputs / "four_bits.pt")
    packed = [
        layer.weight.numel()
        for layer in student.network.modules()
        if isinstance(layer, WEIGHTED) and layer.weight_quantizer is not None and layer.weight_quantizer.bits == 4
    ]
    assert sizes[8] - sizes[4] > 0.25 * sum(packed)  # half, less what the graph grows by
    names((tmp_path / "four_bits.pt" / "README.md").read_text(), *told_of(tmp_path / "four_bits.pt")[0])


def test_narrow_activations(inputs: Path, tmp_path: Path) -> None:
    """Six bits, carried in bytes: the artifact's embeddings are those of the student in integers."""
    result = run(inputs / "narrow.pt", "-o", tmp_path / "artifact", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["parity"]["least_cosine_to_integer_student"] > 0.9999
    embedder = Embedder.open(tmp_path / "artifact", threads=1)
    assert embedder.manifest.bits == {"weights": 7, "activations": 6}
    assert embedder.manifest.name == "tiny-w7a6-ort-cpu"
    (every_cpu, clamped), _ = told_of(tmp_path / "artifact")
    names(clamped, "Activations", "bytes")
    names((tmp_path / "artifact" / "README.md").read_text(), every_cpu, clamped)


def test_a_float_checkpoint_is_refused_with_the_command_that_helps(inputs: Path, tmp_path: Path) -> None:
    teacher = inputs / "teacher.pt"
    result = run(teacher, "-o", tmp_path / "artifact")
    assert (result.exit_code, result.stdout) == (2, "")
    names(result.stderr, f"efq-distill {teacher} --faces FACES -o student.pt", "--calibrate FACES")
    assert not (tmp_path / "artifact").exists()


def test_calibrate(inputs: Path, tmp_path: Path) -> None:
    options = ("--calibrate", inputs / "faces", "--backbone", TEACHER, "-o", tmp_path / "artifact")
    result = run(inputs / "teacher.pt", *options)
    assert result.exit_code == 0, result.output
    assert re.search(r"\bcosine\D*0\.9", result.stderr)
    names(result.stderr, "efq-distill")
    embedder = Embedder.open(tmp_path / "artifact", threads=1)
    assert embedder.manifest.data["images"] == 0
    assert json.loads((tmp_path / "artifact" / "training_data.json").read_text())["images"] == 24


def test_an_existing_artifact_stays(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    output.mkdir()
    (output / "precious.txt").write_text("precious")
    result = run(inputs / "student.pt", "-o", output)
    assert result.exit_code == 2
    names(result.stderr, output, "--force")
    assert [path.name for path in output.iterdir()] == ["precious.txt"]
    assert run(inputs / "student.pt", "-o", output, "--force").exit_code == 0
    assert {path.name for path in output.iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        (("student.pt",), 2, ("-o", "--dry-run")),
        (("student.pt", "-o", "out", "--target", "tpu"), 2, ("tpu", "openvino", "ort-cpu")),
        (("student.pt", "-o", "out", "--bits", "9"), 2, ("--bits", "9")),
        (("student.pt", "-o", "out", "--calibrate", "faces"), 2, ("student.pt", "--calibrate")),
        (("missing.pt", "-o", "out"), 1, ("missing.pt",)),
        (("faces", "-o", "out"), 1, ("faces",)),
        (("broken.pt", "-o", "out"), 1, ("broken.pt",)),
        (("teacher.pt", "-o", "out", "--calibrate", "missing"), 1, ("teacher.pt", "mobilefacenet", "--backbone")),
        (("teacher.pt", "-o", "out", "--calibrate", "missing", "--backbone", TEACHER), 1, ("missing",)),
        (
            ("teacher.pt", "-o", "out", "--calibrate", "faces", "--recipe", "x", "--backbone", TEACHER),
            2,
            ("x", *recipe_names()),
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_wrong_arguments(
    inputs: Path,
    arguments: tuple[str, ...],
    code: int,
    facts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("student.pt", "teacher.pt", "faces"):
        (tmp_path / name).symlink_to(inputs / name)
    (tmp_path / "broken.pt").write_bytes((inputs / "student.pt").read_bytes()[:5000])
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (code, ""), result.output
    names(result.stderr, *facts)
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_useless_embeddings_fail_with_exit_code_3(inputs: Path, tmp_path: Path) -> None:
    """Ranges so wide that every activation becomes 0."""
    student = load_student(inputs / "student.pt")
    for module in student.network.modules():
        if hasattr(module, "log_scale") and hasattr(module, "zero_point"):
            with torch.no_grad():
                module.log_scale.fill_(5.0)
    save_student(student, tmp_path / "wrong.pt")
    result = run(tmp_path / "wrong.pt", "-o", tmp_path / "artifact")
    assert result.exit_code == 3, result.output
    names(result.stderr, "8 images", "1.0000000")  # of the student's own embeddings: agreement with them means nothing
    assert not (tmp_path / "artifact").exists()
    assert run(tmp_path / "wrong.pt", "--dry-run").exit_code == 3
