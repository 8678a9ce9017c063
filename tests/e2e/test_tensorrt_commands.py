"""efq-export, efq-embed and efq-doctor for TensorRT as a user runs them on a machine without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from messages import names, raises_naming
from networks import draw_faces, make_student, randomize, teacher_network, write_faces

from efq.export.export_command import main as export
from efq.export.exporter import check_images
from efq.export.targets import find_target
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.runtime import DeviceError, Embedder
from efq.runtime.artifact.folder import Artifact
from efq.runtime.cuda.seam import open_cuda
from efq.runtime.doctor_command import main as doctor
from efq.runtime.embed_command import main as embed
from efq.runtime.errors import EfqError, MissingDependencyError
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import read_options
from efq.runtime.tensorrt.fingerprint import Fingerprint
from efq.runtime.tensorrt.module import is_installed
from efq.toolchain.networks import torch_embedding
from efq.toolchain.student import load_student, save_student


def _has_gpu() -> bool:
    try:
        return open_cuda().device_count() > 0
    except EfqError:
        return False


RTX = pytest.mark.skipif(not is_installed("trt-rtx"), reason="tensorrt-rtx is not installed")
NO_GPU = pytest.mark.skipif(_has_gpu(), reason="this machine has a GPU")
NO_TRT = pytest.mark.skipif(is_installed("trt"), reason="tensorrt is installed")
ENGINE_FILES = {"build.log", "fingerprint.json", "layers.json", "model.plan", "options.json"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """symmetric.pt, made for TensorRT; student.pt, which was not; six_bits.pt, which cannot be requantized;
    four_bits.pt, symmetric with 4-bit weights; faces/.
    """
    root = tmp_path_factory.mktemp("inputs")
    network = randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4))
    save_student(make_student(network, size=112, symmetric_activations=True), root / "symmetric.pt")
    save_student(make_student(network, size=112), root / "student.pt")
    save_student(make_student(network, size=112, activation_bits=6), root / "six_bits.pt")
    save_student(make_student(network, size=112, weight_bits=4, symmetric_activations=True), root / "four_bits.pt")
    write_faces(root / "faces", people=2, each=2)
    return root


def run(*arguments: object) -> Result:
    return CliRunner().invoke(export, [str(argument) for argument in arguments])


@RTX
def test_exports_with_an_engine(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    options = ("--batch", "1,4,16", "--compute-capability", "8.6", "--compute-capability", "12.0")
    result = run(inputs / "symmetric.pt", "--bits", 8, "--target", "trt-rtx", *options, "-o", output)
    assert result.exit_code == 0, result.output
    names(result.stdout, "multiply-adds", "100 %")
    assert {path.name for path in (output / "engine").iterdir()} == ENGINE_FILES
    fingerprint = Fingerprint.from_json((output / "engine" / "fingerprint.json").read_text())
    assert (fingerprint.gpu, fingerprint.compute_capabilities) == (None, ("8.6", "12.0"))
    assert fingerprint.options.batches == (1, 4, 16)
    layers = json.loads((output / "engine" / "layers.json").read_text())["layers"]
    assert sum(layer["kind"] in ("correlation", "gemm") for layer in layers) == 10
    artifact = Artifact.open(output)
    assert artifact.manifest.target == "trt-rtx"
    assert "requantized" not in artifact.manifest.recipe
    (output / "engine" / "build.log").write_text("an engine is a cache: changing it breaks no checksum")
    Artifact.open(output)


@RTX
def test_a_student_of_another_form_is_requantized_and_the_manifest_says_so(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    result = run(inputs / "student.pt", "--target", "trt-rtx", "-o", output, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    requantized = Artifact.open(output).manifest.recipe["requantized"]
    assert report["parity"]["requantized"] == requantized
    assert requantized["widest_step_ratio"] > 1
    assert requantized["mean_cosine"] > 0.95
    assert report["engine"]["plan_bytes"] == (output / "engine" / "model.plan").stat().st_size
    assert report["coverage"]["multiply_adds"]["fraction"] == 1.0
    card = (output / "README.md").read_text()
    names(card, report["coverage"]["runtime"], f"{requantized['mean_cosine']:.6g}", "rebuild=True")


@NO_TRT
def test_trt_without_tensorrt_or_gpu(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    refused = run(inputs / "symmetric.pt", "--target", "trt", "-o", output)
    assert refused.exit_code == 4
    names(refused.stderr, "tensorrt", "pip install 'efq[trt]'", "--no-engine", "--rebuild")
    assert list(tmp_path.iterdir()) == []
    made = run(inputs / "symmetric.pt", "--target", "trt", "--no-engine", "--batch", "1,2,4", "-o", output)
    assert made.exit_code == 0, made.output
    assert Artifact.open(output).manifest.coverage == {}
    assert read_options(output / "engine") == BuildOptions(batches=(1, 2, 4))
    for text in (made.stdout, (output / "README.md").read_text()):
        names(text, "Integer coverage")
        assert "%" not in text


def test_narrow_weights_buy_nothing_here(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    result = run(inputs / "four_bits.pt", "--bits", 4, "--target", "trt", "--no-engine", "-o", output)
    assert result.exit_code == 0, result.output
    (bits,) = find_target("trt").bit_sentences(Artifact.open(output).manifest)
    names(bits, "8 bits", "int8")
    for text in (result.stdout, (output / "README.md").read_text()):
        names(text, bits)
    reduced = run(inputs / "student.pt", "--target", "trt", "--no-engine", "-o", tmp_path / "seven")
    assert reduced.exit_code == 0, reduced.output
    names(reduced.stdout, bits)
    assert "VNNI" not in reduced.stdout


@NO_TRT
def test_the_graph_on_the_cpu_only_when_asked_for(inputs: Path, tmp_path: Path) -> None:
    """The same numbers as the student; never instead of a GPU that is not there."""
    output = tmp_path / "artifact"
    assert run(inputs / "symmetric.pt", "--target", "trt", "--no-engine", "-o", output).exit_code == 0
    faces = draw_faces(4, 2)
    student = load_student(inputs / "symmetric.pt")
    form, _ = symmetric_form(student, check_images(student))
    wanted = torch_embedding(form.network, torch.device("cpu"))(faces)
    with Embedder.open(output, device="cpu", threads=1) as embedder:
        found = embedder.embed(faces)
    cosines = (found * wanted).sum(1)  # of random weights one tie that falls otherwise spreads over a face
    assert cosines.mean() > 0.999
    assert cosines.min() > 0.995
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3)
    with raises_naming(MissingDependencyError, "tensorrt", "efq[trt]"):
        Embedder.open(output)


@RTX
@NO_GPU
def test_no_gpu_is_an_error_not_the_cpu(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "artifact"
    assert run(inputs / "symmetric.pt", "--target", "trt-rtx", "-o", output).exit_code == 0
    for options in ((), ("--device", "cuda:0"), ("--rebuild",)):
        arguments = [str(output), str(inputs / "faces"), "-o", str(tmp_path / "e.npz"), *options]
        result = CliRunner().invoke(embed, arguments)
        assert result.exit_code == 4, result.output
        names(result.stderr, "cuda-python", "pycuda", "torch")
    assert not (tmp_path / "e.npz").exists()
    with raises_naming(DeviceError, "cuda", "cuda-python", "pycuda", "torch"):
        Embedder.open(output)


@pytest.mark.parametrize(
    ("arguments", "code", "facts"),
    [
        (("student.pt", "--target", "ort-cpu", "--batch", "1,2,3"), 2, ("ort-cpu", "--batch")),
        (("student.pt", "--target", "ort-cpu", "--no-engine"), 2, ("ort-cpu", "--no-engine")),
        (("student.pt", "--target", "trt-rtx", "--batch", "8"), 2, ("--batch", "1,8,64", "'8'")),
        (("student.pt", "--target", "trt-rtx", "--batch", "8,4,2"), 2, ("batch", "8, 4, 2")),
        (("student.pt", "--target", "trt-rtx", "--compute-capability", "sm_86"), 2, ("8.6", "sm_86")),
        (("student.pt", "--target", "trt-rtx", "--builder-level", "9"), 2, ("0", "5", "9")),
        (("six_bits.pt", "--target", "trt-rtx"), 2, ("8-bit", "6-bit", "symmetric_activations")),
        (("student.pt", "--target", "tensorrt"), 2, ("tensorrt", "trt", "trt-rtx")),
    ],
)
def test_options_that_do_not_fit(
    inputs: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, facts: tuple[str, ...]
) -> None:
    result = run(inputs / arguments[0], *arguments[1:], "-o", tmp_path / "artifact")
    assert result.exit_code == code, result.output
    names(result.stderr, *facts)
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@RTX
def test_options_the_package_does_not_have(inputs: Path, tmp_path: Path) -> None:
    for options, facts in (
        (("--compute-capability", "9.0"), ("7.5", "12.0", "9.0")),
        (("--version-compatible",), ("--compute-capability",)),
        (("--timing-cache", tmp_path / "timings"), ("timing cache",)),
    ):
        result = run(inputs / "symmetric.pt", "--target", "trt-rtx", *options, "-o", tmp_path / "artifact")
        assert result.exit_code == 2, result.output
        names(result.stderr, "tensorrt_rtx", *facts)
    assert list(tmp_path.iterdir()) == []


def test_dry_run(inputs: Path, tmp_path: Path) -> None:
    result = run(inputs / "symmetric.pt", "--target", "trt", "--dry-run", "--json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    assert plan["target"] == "trt"
    assert plan["operations"]["PReLU"] == 6


def test_doctor() -> None:
    result = CliRunner().invoke(doctor, [])
    assert result.exit_code == 0, result.output
    names(result.stdout, "ort-cpu", "openvino", "trt", "trt-rtx", np.__version__)
    report = json.loads(CliRunner().invoke(doctor, ["--json"]).stdout)
    assert report["targets"]["ort-cpu"]["runs"] is True
    assert {"trt", "trt-rtx"} <= set(report["targets"])
    assert report["versions"]["numpy"] == np.__version__
    assert CliRunner().invoke(doctor, ["ort-cpu"]).exit_code == 0
    unknown = CliRunner().invoke(doctor, ["cpu"])
    assert unknown.exit_code == 2
    names(unknown.stderr, "cpu", "ort-cpu", "openvino", "trt", "trt-rtx")


@NO_GPU
def test_doctor_of_a_target_that_cannot_run() -> None:
    result = CliRunner().invoke(doctor, ["trt-rtx"])
    assert result.exit_code == 4
    names(result.stdout, "trt-rtx", "GPU")
    names(result.stderr, "trt-rtx", "GPU")
    report = json.loads(CliRunner().invoke(doctor, ["trt-rtx", "--json"]).stdout)
    assert report["targets"]["trt-rtx"]["runs"] is False
