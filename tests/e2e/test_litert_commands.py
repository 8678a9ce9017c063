"""efq-export --target litert and what serves it, as a user runs them."""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from litert_files import changed
from messages import names, raises_naming
from networks import make_student, randomize, teacher_network, write_faces

from efq.export.export_command import main as export
from efq.export.targets.litert.reference import litert_embedding
from efq.export.targets.litert.target import litert_plan
from efq.runtime import ChecksumError, Embedder
from efq.runtime.artifact.folder import Artifact, write_checksums
from efq.runtime.doctor_command import main as doctor
from efq.runtime.embed_command import main as embed
from efq.runtime.errors import SchemaError, UsageError
from efq.runtime.litert.folder import LITERT_FILE
from efq.toolchain.student import save_student

pytest.importorskip("ai_edge_litert")

SCRIPTS = Path(__file__).parents[1] / "scripts"
IMAGES = np.random.default_rng(0).integers(0, 256, (9, 14, 14, 3), np.uint8).repeat(8, 1).repeat(8, 2)


def run(command: object, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("student") / "student.pt"
    save_student(make_student(randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4)), size=112), path)
    return path


@pytest.fixture(scope="module")
def artifact(student: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("litert") / "artifact"
    result = run(export, student, "--target", "litert", "-o", folder)
    assert result.exit_code == 0, result.output
    names(result.stdout, "ai-edge-litert", "XNNPACK with", "multiply-adds", "100 %", "float islands: none")
    return folder


def test_the_artifact_is_of_both_files(artifact: Path) -> None:
    opened = Artifact.open(artifact)
    assert {"model.onnx", LITERT_FILE} <= set(opened.checksums)
    assert opened.manifest.target == "litert"
    assert opened.manifest.bits == {"weights": 7, "activations": 8}
    assert "ai-edge-litert" in opened.manifest.tools
    check = json.loads((artifact / "parity.json").read_text())["export_check"]
    assert check["least_cosine_to_litert_reference"] > 0.99999
    assert check["least_cosine_to_integer_student"] > 0.998
    names((artifact / "README.md").read_text(), LITERT_FILE, "100 %")


def test_embeddings_are_those_of_the_reference(artifact: Path) -> None:
    content = (artifact / "model.onnx").read_bytes()
    wanted = litert_embedding(litert_plan(content, artifact))(IMAGES)
    with Embedder.open(artifact, threads=2) as embedder:
        assert embedder.backend == "litert"
        found = embedder.embed(IMAGES)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for other in pool.map(embedder.embed, [IMAGES] * 12):
                np.testing.assert_array_equal(other, found)
    with raises_naming(UsageError, "closed"):
        embedder.embed(IMAGES)


def test_other_processes_open_it_again(artifact: Path) -> None:
    """The child of a fork, and one that an Embedder is sent to."""
    with Embedder.open(artifact, threads=2) as embedder:
        found = embedder.embed(IMAGES)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(embedder)).embed(IMAGES), found)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            np.testing.assert_array_equal(pool.apply_async(embedder.embed, (IMAGES,)).get(60), found)


def test_embed_command(artifact: Path, tmp_path: Path) -> None:
    faces = write_faces(tmp_path / "faces", 2, 2)
    output = tmp_path / "out.npz"
    result = run(embed, artifact, *sorted(faces.rglob("*.png")), "-o", output)
    assert result.exit_code == 0, result.output
    with np.load(output) as found:
        assert found["embeddings"].shape == (4, 16)


def test_another_backend_is_refused(artifact: Path, tiny_artifact: Path) -> None:
    with raises_naming(UsageError, "litert", "onnxruntime"):
        Embedder.open(artifact, backend="onnxruntime")
    with raises_naming(UsageError, "ort-cpu", "litert"):
        Embedder.open(tiny_artifact, backend="litert")


def copied(artifact: Path, folder: Path, content: bytes) -> Path:
    shutil.copytree(artifact, folder)
    (folder / LITERT_FILE).write_bytes(content)
    return folder


def test_another_file_is_refused(artifact: Path, tmp_path: Path) -> None:
    """By its checksum, by the name that model.onnx has for it, and by what it holds."""
    content = (artifact / LITERT_FILE).read_bytes()
    other = changed(content, lambda model, graph: setattr(model, "description", "another"))
    folder = copied(artifact, tmp_path / "changed", other)
    with raises_naming(ChecksumError, LITERT_FILE):
        Embedder.open(folder)
    write_checksums(folder)
    with raises_naming(SchemaError, LITERT_FILE, "efq.litert_sha256"):
        Embedder.open(folder)
    (folder / LITERT_FILE).unlink()
    write_checksums(folder)
    with raises_naming(ChecksumError, LITERT_FILE):
        Embedder.open(folder)


def test_serving_opens_no_socket_and_writes_nothing(artifact: Path) -> None:
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "confined.py", str(artifact), "litert"]
    done = subprocess.run(command, env=environment, cwd=SCRIPTS, capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("the kernel takes no filter of system calls")
    assert done.returncode != -signal.SIGSYS
    assert done.stdout == "served\n", done.stderr


def test_a_graph_of_few_bits(tmp_path: Path) -> None:
    save_student(make_student(randomize(teacher_network()), size=112, activation_bits=6), tmp_path / "student.pt")
    result = run(export, tmp_path / "student.pt", "--target", "litert", "-o", tmp_path / "artifact")
    assert result.exit_code == 0, result.output
    names(result.stdout + (tmp_path / "artifact" / "README.md").read_text(), "neither size nor time")
    with Embedder.open(tmp_path / "artifact", threads=1) as embedder:
        assert embedder.embed(IMAGES).shape == (9, 16)


def test_doctor_says_whether_it_runs() -> None:
    result = run(doctor)
    names(result.stdout, "litert", "ai-edge-litert")
