"""The networks to compare with: each has to compute what the torch network computes, float or nearly."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from artifacts import random_faces, reference_embeddings
from extensions import install
from messages import names, raises_naming
from networks import TEACHER, make_teacher
from numpy.typing import NDArray
from torch import nn

from efq.benchmarks.candidates import peer_candidates, usable
from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.peers import onnxruntime
from efq.benchmarks.peers.artifact import ArtifactPeer
from efq.benchmarks.peers.float_teacher import FloatTeacher, export_float_onnx
from efq.benchmarks.peers.nncf import quantize_nncf
from efq.benchmarks.peers.onnxruntime import (
    OnnxRuntimePeer,
    quantize_onnxruntime_dynamic,
    quantize_onnxruntime_static,
)
from efq.benchmarks.peers.openvino import OpenVinoPeer, computes_bfloat16, convert_to_openvino
from efq.benchmarks.peers.registry import find_opener, peer_tools
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import Candidate, PeerTool
from efq.benchmarks.timing.footprint import measure_footprints
from efq.benchmarks.timing.latency import SelfTimed
from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.errors import EfqError, MissingDependencyError, UsageError
from efq.runtime.faces.normalization import Normalization

needs_openvino, needs_nncf = (
    pytest.mark.skipif(
        any(importlib.util.find_spec(package) is None for package in packages),
        reason=f"needs {' and '.join(packages)}: pip install 'efq[peers]'",
    )
    for packages in (("openvino",), ("openvino", "nncf"))
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
    return FloatTeacher(name="teacher", path=path, normalization=preprocess, checkpoint=path, backbone="tiny")


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
    peer = OnnxRuntimePeer("teacher", teacher.path, teacher.normalization, threads=1)
    np.testing.assert_allclose(peer.embed(FACES), expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(peer.embed(FACES[:1]), axis=1), 1.0, atol=1e-6)
    assert peer.file_bytes == teacher.path.stat().st_size


def test_artifact_is_run_as_a_user_runs_it(tiny_artifact: Path) -> None:
    peer = ArtifactPeer("tiny", tiny_artifact, threads=1, backend="onnxruntime")
    faces = random_faces(3)
    np.testing.assert_allclose(peer.run(peer.prepare(faces)), reference_embeddings(faces), atol=1e-5)
    assert peer.file_bytes == (tiny_artifact / "model.onnx").stat().st_size


@pytest.mark.parametrize("kind", ["u8", "s8", "dynamic"])
def test_onnxruntime_quantization_is_close_to_the_teacher(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "quantized.onnx"
    if kind == "dynamic":
        quantize_onnxruntime_dynamic(teacher.path, path)
    else:
        reduce_range = products_saturate()
        quantize_onnxruntime_static(
            teacher.path, path, FACES, teacher.normalization, signed=kind == "s8", reduce_range=reduce_range
        )
    found = OnnxRuntimePeer("quantized", path, teacher.normalization, threads=1).embed(FACES)
    cosine = (found * expected).sum(axis=1)
    assert 0.98 < cosine.min() < 0.999999
    activations = {tensor.data_type for tensor in onnx.load(path).graph.initializer if "zero_point" in tensor.name}
    assert (onnx.TensorProto.UINT8 in activations) == (kind != "s8")


@needs_openvino
def test_openvino_float32_computes_what_torch_does(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    path = convert_to_openvino(teacher.path, tmp_path / "float32.xml")
    peer = OpenVinoPeer("float32", path, teacher.normalization, threads=1, precision="f32")
    np.testing.assert_allclose(peer.embed(FACES), expected, atol=1e-5)
    assert peer.file_bytes == path.stat().st_size + path.with_suffix(".bin").stat().st_size


@needs_nncf
def test_nncf_int8_is_close_to_the_teacher(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = quantize_nncf(teacher.path, tmp_path / "int8.xml", FACES, teacher.normalization, preset="mixed")
    found = OpenVinoPeer("int8", path, teacher.normalization, threads=1).embed(FACES)
    cosine = (found * expected).sum(axis=1)
    assert 0.98 < cosine.min() < 0.999999
    assert capfd.readouterr().out == ""


@needs_openvino
def test_openvino_bfloat16_rounds_more_than_float32(
    teacher: FloatTeacher, expected: NDArray[np.float32], tmp_path: Path
) -> None:
    if not computes_bfloat16():
        pytest.skip("OpenVINO has no bfloat16 kernels for this CPU")
    spec = _spec("openvino", convert_to_openvino(teacher.path, tmp_path / "float.xml"), precision="bfloat16")
    cosine = (find_opener(spec.kind).open(spec, 1).embed(FACES) * expected).sum(axis=1)
    assert 0.99 < cosine.min() < 0.999999


@pytest.mark.slow
def test_torch_compile_runs_in_its_own_process_and_times_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))  # where TEACHER is
    network = make_teacher(tmp_path / "teacher.pt").network.eval()
    spec = _spec("torch_compile", tmp_path / "teacher.pt", precision="float32", backbone=TEACHER)
    assert PeerSpec.from_json(spec.to_json()) == spec
    peer = find_opener(spec.kind).open(spec, 1)
    assert isinstance(peer, SelfTimed)
    prepared = peer.prepare(FACES[:1])
    with torch.no_grad():
        np.testing.assert_allclose(peer.run(prepared), network(torch.from_numpy(prepared)).numpy(), atol=1e-4)
    assert 0 < peer.timed_run(prepared) < 1
    peer.close()


@pytest.mark.slow
def test_what_torch_cannot_open_is_said(tmp_path: Path) -> None:
    (tmp_path / "none.pt").write_bytes(b"nothing")
    peer = find_opener("torch_compile").open(_spec("torch_compile", tmp_path / "none.pt"), 1)
    with raises_naming(EfqError, "openable", tmp_path / "none.pt"):
        peer.run(np.zeros((1, 3, 112, 112), np.float32))
    peer.close()


def test_a_peer_that_cannot_run_becomes_a_note(teacher: FloatTeacher, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    sound, broken = _spec("onnxruntime", teacher.path), _spec("onnxruntime", tmp_path / "broken.onnx")
    candidates = [Candidate(spec=spec, opener=onnxruntime.TOOL, description="") for spec in (sound, broken, sound)]
    kept, (note,) = usable(candidates, 1, FACES[:1])
    assert kept == [candidates[0], candidates[2]]
    names(note, "openable", tmp_path / "broken.onnx")
    with pytest.raises(Exception, match="broken"):
        usable([candidates[1]], 1, FACES[:1])


def test_the_tools_are_ordered_as_reports_are_and_each_opens_its_own_kind() -> None:
    tools = [tool.name for tool in peer_tools()]
    assert tools[:4] == ["onnxruntime", "openvino", "nncf", "torch_compile"]
    assert all(isinstance(tool, PeerTool) for tool in peer_tools())
    assert [tool.name for tool in peer_tools(["torch_compile", "onnxruntime"])] == ["torch_compile", "onnxruntime"]
    assert all(find_opener(name).name == name for name in (*tools, "artifact"))
    for unknown in (lambda: peer_tools(["nothing"]), lambda: find_opener("nothing")):
        with raises_naming(UsageError, "nothing", *tools):
            unknown()


def test_a_broken_entry_point_is_a_warning_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    points = {
        "absent": "nowhere_to_be_found:TOOL",
        "number": "broken_peers:NUMBER",
        "onnxruntime": "broken_peers:NUMBER",
    }
    install(tmp_path / "site", name="broken_peers", code="NUMBER = 1\n", entry_points={"efq.peers": points})
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert [tool.name for tool in peer_tools()] == ["onnxruntime", "openvino", "nncf", "torch_compile"]
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 3
    for value, message in zip(points.values(), warned, strict=True):
        names(message, value)
    with raises_naming(UsageError, "number"):
        find_opener("number")


class Lacking(onnxruntime.OnnxRuntimeTool):
    def require(self) -> None:
        message = "lacks everything"
        raise MissingDependencyError(message)


def test_what_a_tool_lacks_is_said_before_anything_is_computed(teacher: FloatTeacher, tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="everything"):
        peer_candidates([onnxruntime.TOOL, Lacking()], teacher, FACES, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_memory_and_start_up_are_those_of_fresh_processes(teacher: FloatTeacher, tiny_artifact: Path) -> None:
    artifact = PeerSpec(name="tiny", kind="artifact", path=str(tiny_artifact))
    held = np.ones(2**28, np.uint8)  # 256 MiB of this process
    found = measure_footprints([_spec("onnxruntime", teacher.path), artifact], repeats=1)
    assert [footprint.network for footprint in found] == ["openable", "tiny"]
    assert all(30 < footprint.peak_mib < 200 for footprint in found)
    assert all(5 < footprint.start_up_ms < 20_000 for footprint in found)
    assert held.nbytes == 2**28
    with raises_naming(EfqError, "tiny", "nowhere/model.onnx"):
        measure_footprints([PeerSpec(name="tiny", kind="artifact", path="nowhere")], repeats=1)


def _spec(kind: str, path: Path, *, precision: str | None = None, backbone: str | None = None) -> PeerSpec:
    normalization = {"mean": (127.5,) * 3, "std": (128.0,) * 3}
    return PeerSpec(name="openable", kind=kind, path=str(path), precision=precision, backbone=backbone, **normalization)
