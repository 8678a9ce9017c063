"""The float teacher as a graph for TensorRT, computed by ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import MEAN, NETWORKS, STD, random_images, randomize
from numpy.typing import NDArray
from onnx import TensorProto
from torch.nn import functional

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.benchmarks.engines.teacher_graph import Precision, engine_graph
from efq.benchmarks.peers.float_teacher import export_float_onnx, export_teacher
from efq.benchmarks.peers.onnxruntime import TOOL
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.teachers.normalized_network import NormalizedNetwork

SMALL = InputContract(height=28, width=28)


def float_onnx(name: str, folder: Path) -> tuple[torch.nn.Module, onnx.ModelProto]:
    network = randomize(NETWORKS[name]()).eval()
    export_float_onnx(network, folder / "float.onnx", SMALL)
    return network, onnx.load(folder / "float.onnx")


def run(model: onnx.ModelProto, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(["embeddings"], {"images": images})[0]
    return found


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(("precision", "least"), [("float32", 0.999999), ("float16", 0.9999)])
def test_both_compute_the_network_from_bytes_to_unit_length(
    name: str, precision: Precision, least: float, tmp_path: Path
) -> None:
    network, exported = float_onnx(name, tmp_path)
    images = random_images(16)
    with torch.no_grad():
        normalized = NormalizedNetwork(network, MEAN, STD)
        normalized.memory_format = torch.contiguous_format
        wanted = functional.normalize(normalized(images)).numpy()
    found = run(engine_graph(exported, mean=MEAN, std=STD, contract=SMALL, precision=precision), images.numpy())
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert float((found * wanted).sum(1).min()) > least


def test_every_weight_of_the_float16_graph_is_float16(tmp_path: Path) -> None:
    _, exported = float_onnx("preactivation", tmp_path)
    before = exported.SerializeToString()
    half = engine_graph(exported, mean=MEAN, std=STD, contract=SMALL, precision="float16")
    types = {tensor.data_type for tensor in half.graph.initializer if tensor.name not in ("mean", "std")}
    assert types == {TensorProto.FLOAT16}
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True)
    kinds = {value.name: value.type.tensor_type.elem_type for value in inferred.graph.value_info}
    products = [node for node in half.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(products) == 7
    assert {kinds[node.output[0]] for node in products} == {TensorProto.FLOAT16}
    assert exported.SerializeToString() == before
    assert len(half.SerializeToString()) < 0.7 * len(before)


@pytest.mark.faces
def test_a_real_teacher_in_float16_is_itself(faces_root: Path, tmp_path: Path) -> None:
    checkpoint = faces_root / "weights" / "mobilefacenet_y1.pt"
    teacher = export_teacher(checkpoint, tmp_path / "y1.onnx", name="y1")
    mean, std, contract = teacher.normalization.mean, teacher.normalization.std, InputContract()
    network, faces = onnx.load(teacher.path), drawn_faces(16)
    wanted = TOOL.reference(teacher).open(1).embed(faces)
    for precision, least in (("float32", 0.999999), ("float16", 0.9999)):
        model = engine_graph(network, mean=mean, std=std, contract=contract, precision=precision)  # type: ignore[arg-type]
        assert float((run(model, faces) * wanted).sum(1).min()) > least
