"""One way to open teachers, students and artifacts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from messages import raises_naming
from networks import TEACHER, draw_faces, make_student, make_teacher, randomize, teacher_network

from efq.export import export_student, find_target
from efq.runtime.errors import CheckpointError, DeviceError, IncompatibleArtifactError, SchemaError, UsageError
from efq.runtime.reading import sha256_file
from efq.toolchain.networks import network_kind, open_network, torch_device
from efq.toolchain.student import Student, save_student

FACES = draw_faces(2, 2)
HASHES = {"00112233445566aa", "ffeeddccbbaa0099"}


@pytest.fixture(autouse=True)
def keep_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def student() -> Student:
    return make_student(randomize(teacher_network(), slopes=(0.2,)), size=112)


@pytest.fixture(scope="module")
def artifact(student: Student, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("artifact") / "tiny"
    export_student(student, find_target("ort-cpu"), directory, bits=8)
    return directory


def test_teacher(tmp_path: Path) -> None:
    teacher = make_teacher(tmp_path / "teacher.pt")
    network = open_network(tmp_path / "teacher.pt", backbone=TEACHER, threads=1)
    assert (network.kind, network.name, network.training_hashes) == ("teacher", TEACHER, frozenset())
    assert network.sha256 == teacher.sha256 == sha256_file(tmp_path / "teacher.pt", expected="a file")
    found = network.embed(FACES)
    assert (found.dtype, found.shape) == (np.float32, (4, 16))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    with torch.no_grad():
        raw = teacher.normalized(torch.from_numpy(FACES)).numpy()
    np.testing.assert_allclose(found, raw / np.linalg.norm(raw, axis=1, keepdims=True), atol=1e-5)
    assert torch.get_num_threads() == 1


def test_student_and_its_artifact_agree(student: Student, artifact: Path, tmp_path: Path) -> None:
    save_student(student, tmp_path / "student.pt")
    opened = [open_network(path, threads=1, runtime="onnxruntime") for path in (tmp_path / "student.pt", artifact)]
    assert [(network.kind, network.name, network.backend) for network in opened] == [
        ("student", "tiny student (tiny)", None),
        ("artifact", "tiny-w7a8-ort-cpu", "onnxruntime"),
    ]
    assert all(network.training_hashes == HASHES for network in opened)
    assert opened[1].sha256 == sha256_file(artifact / "model.onnx", expected="a file")
    found, wanted = (network.embed(FACES) for network in opened)
    assert float((found * wanted).sum(1).min()) > 0.999


def test_a_student_without_its_quantizers(tmp_path: Path) -> None:
    """Its float function: the teacher's, but for what weights and biases make up for of the rounding."""
    teacher = make_teacher(tmp_path / "teacher.pt")
    save_student(make_student(teacher.network, size=112, weight_bits=4, activation_bits=4), tmp_path / "student.pt")
    wanted = open_network(tmp_path / "teacher.pt", backbone=TEACHER).embed(FACES)
    found = open_network(tmp_path / "student.pt", quantized=False)
    assert found.name == "tiny student (tiny, float)"
    quantized = (open_network(tmp_path / "student.pt").embed(FACES) * wanted).sum(1)
    exact = (found.embed(FACES) * wanted).sum(1)
    assert float(quantized.min()) < 0.9 < float(exact.min())
    assert bool((exact > quantized).all())
    for path in (tmp_path / "teacher.pt", tmp_path):
        with raises_naming(UsageError, path, "student.pt"):
            open_network(path, backbone=TEACHER, quantized=False)


def test_more_images_than_a_batch(tmp_path: Path) -> None:
    make_teacher(tmp_path / "teacher.pt")
    network = open_network(tmp_path / "teacher.pt", backbone=TEACHER)
    many = np.concatenate([FACES] * 17)
    found = network.embed(many)
    np.testing.assert_allclose(found, np.concatenate([network.embed(FACES)] * 17), atol=1e-5)


def test_devices() -> None:
    assert torch_device("cpu") == torch.device("cpu")
    for name in ("gpu", "mps") if torch.cuda.is_available() else ("gpu", "mps", "cuda", "cuda:1"):
        with raises_naming(DeviceError, repr(name), "cpu"):
            torch_device(name)


def test_a_device_is_never_replaced(student: Student, tmp_path: Path) -> None:
    save_student(student, tmp_path / "student.pt")
    with pytest.raises(DeviceError):
        open_network(tmp_path / "student.pt", device="tpu")


def test_an_artifact_without_its_training_data(artifact: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(artifact, tmp_path / "changed")
    (changed / "training_data.json").write_text(json.dumps({"images": 3}))
    with pytest.raises((SchemaError, IncompatibleArtifactError)):
        open_network(changed)


def test_what_a_file_is(artifact: Path, student: Student, tmp_path: Path) -> None:
    make_teacher(tmp_path / "teacher.pt")
    save_student(student, tmp_path / "student.pt")
    found = [network_kind(path) for path in (tmp_path / "teacher.pt", tmp_path / "student.pt", artifact)]
    assert found == ["teacher", "student", "artifact"]
    (tmp_path / "cut.pt").write_bytes((tmp_path / "student.pt").read_bytes()[:-100])
    for name in ("cut.pt", "missing.pt"):
        with raises_naming(CheckpointError, tmp_path / name):
            network_kind(tmp_path / name)


def test_every_kind_can_be_closed(artifact: Path, tmp_path: Path) -> None:
    make_teacher(tmp_path / "teacher.pt")
    for path in (artifact, tmp_path / "teacher.pt"):
        with open_network(path, backbone=TEACHER) as network:
            network.embed(FACES)
        network.close()


def test_neither(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleArtifactError):
        open_network(tmp_path)
    with raises_naming(CheckpointError, tmp_path / "missing.pt"):
        open_network(tmp_path / "missing.pt")
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pt")
    with raises_naming(CheckpointError, tmp_path / "other.pt", "--backbone"):
        open_network(tmp_path / "other.pt")
