"""The networks to compare with: each has to compute what the torch network computes, float or nearly."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from artifacts import random_faces, reference_embeddings
from numpy.typing import NDArray
from torch import nn

from efq.benchmarks.float_teacher import FloatTeacher, export_float_onnx
from efq.benchmarks.inputs import drawn_faces
from efq.benchmarks.peers.artifact import ArtifactPeer
from efq.benchmarks.peers.onnxruntime_float import OnnxRuntimePeer
from efq.benchmarks.peers.onnxruntime_static import quantize_onnxruntime_static
from efq.benchmarks.peers.openvino_nncf import OpenVinoPeer, convert_to_openvino, quantize_nncf
from efq.benchmarks.peers.peer import Normalization
from efq.runtime.contract import InputContract

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None or importlib.util.find_spec("nncf") is None,
    reason="needs openvino and nncf: pip install 'efq[peers]'",
)
FACES = drawn_faces(20, seed=1)


@pytest.fixture(scope="module")
def network() -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=4), nn.PReLU(8), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128, 16)
    )
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return layers.eval()


@pytest.fixture(scope="module")
def teacher(network: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> FloatTeacher:
    path = tmp_path_factory.mktemp("teacher") / "teacher.onnx"
    export_float_onnx(network, path, InputContract())
    preprocess = Normalization(mean=(127.5,) * 3, std=(128.0,) * 3)
    return FloatTeacher(name="teacher", path=path, preprocess=preprocess)


@pytest.fixture(scope="module")
def expected(network: nn.Module) -> NDArray[np.float32]:
    """Unit-length embeddings of FACES by torch."""
    images = torch.from_numpy(FACES.astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return np.asarray(nn.functional.normalize(network((images - 127.5) / 128)).numpy())


def test_normalization_is_per_channel_and_channels_first() -> None:
    image = np.zeros((1, 2, 2, 3), np.uint8)
    image[..., 1] = 20
    prepared = Normalization(mean=(0.0, 10.0, 0.0), std=(1.0, 5.0, 1.0))(image)
    assert prepared.dtype == np.float32
    assert prepared.shape == (1, 3, 2, 2)
    np.testing.assert_array_equal(prepared[0, :, 0, 0], [0.0, 2.0, 0.0])


def test_exported_teacher_computes_what_torch_does(teacher: FloatTeacher, expected: NDArray[np.float32]) -> None:
    peer = teacher.open(1)
    np.testing.assert_allclose(peer.embed(FACES), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(peer.embed(FACES[:1]), axis=1), 1.0, atol=1e-6)
    assert peer.file_bytes == teacher.path.stat().st_size


def test_artifact_is_run_as_a_user_runs_it(tiny_artifact: Path) -> None:
    peer = ArtifactPeer("tiny", tiny_artifact, threads=1)
    faces = random_faces(3)
    np.testing.assert_allclose(peer.run(peer.prepare(faces)), reference_embeddings(faces), atol=1e-5)
    assert peer.file_bytes == (tiny_artifact / "model.onnx").stat().st_size


def test_quantize_static_holds_integers_close_to_the_teacher(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    path = quantize_onnxruntime_static(teacher.path, tmp_path / "static.onnx", FACES, teacher.preprocess)
    found = OnnxRuntimePeer("static", path, teacher.preprocess, threads=1).embed(FACES)
    cosine = (found * expected).sum(axis=1)
    assert 0.98 < cosine.min() < 0.999999


@needs_openvino
def test_openvino_float32_computes_what_torch_does(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    path = convert_to_openvino(teacher.path, tmp_path / "float32.xml")
    peer = OpenVinoPeer("float32", path, teacher.preprocess, threads=1, precision="f32")
    np.testing.assert_allclose(peer.embed(FACES), expected, atol=1e-5)
    assert peer.file_bytes == path.stat().st_size + path.with_suffix(".bin").stat().st_size


@needs_openvino
def test_nncf_int8_is_close_to_the_teacher(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = quantize_nncf(teacher.path, tmp_path / "int8.xml", FACES, teacher.preprocess, preset="mixed")
    found = OpenVinoPeer("int8", path, teacher.preprocess, threads=1).embed(FACES)
    cosine = (found * expected).sum(axis=1)
    assert 0.98 < cosine.min() < 0.999999
    assert capfd.readouterr().out == ""
