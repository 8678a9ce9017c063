"""PRelu behind a convolution, where a target takes it, is the student's PReLU with one rounding less."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import NETWORKS, SLOPES, conv_block, linear_block, make_student, random_images, randomize
from numpy.typing import NDArray
from torch import Tensor, nn

from efq.export.coverage.measurement import measure_coverage
from efq.export.qdq.passes.exact_prelus import exact_prelus
from efq.export.qdq.passes.fuse_prelus import FUSE_PRELUS
from efq.export.qdq.target import QdqTarget
from efq.export.references.integer import IntegerReference
from efq.export.targets import find_target
from efq.runtime.backends.openvino import OpenVinoModel
from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d
from efq.toolchain.graph.traversal import module_of, producer
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

OPENVINO = find_target("openvino")
assert isinstance(OPENVINO, QdqTarget)
IMAGES = random_images(6, seed=3).numpy()


class AroundPRelu(nn.Module):
    """The input of the first PReLU is added to its output; the second stands behind that sum."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(conv_block(3, 8, 3, 2), linear_block(8, 8, 1))
        self.prelu, self.second = nn.PReLU(8), nn.PReLU(8)
        self.after = nn.Sequential(conv_block(8, 8, 3, 2), nn.Flatten(), nn.Linear(8 * 7 * 7, 16))

    def forward(self, images: Tensor) -> Tensor:
        values = self.before(images)
        embeddings: Tensor = self.after(self.second(self.prelu(values) + values))
        return embeddings


def fused_prelus(student: Student) -> list[tuple[NDArray[np.float32], ActivationQuantizer]]:
    """Of each PReLU behind a convolution that nothing else reads: slopes (C, 1, 1) as quantized, quantizer."""
    found = []
    for prelu in exact_prelus(student.network).values():
        before, slopes = module_of(student.network, producer(prelu.first)), module_of(student.network, prelu.slopes)
        quantizer = module_of(student.network, prelu.second)
        if isinstance(before, QuantizedConv2d):
            assert isinstance(slopes, ChannelAffine)
            assert slopes.weight_quantizer is not None
            assert isinstance(quantizer, ActivationQuantizer)
            found.append((slopes.weight_quantizer(slopes.weight[:, None]).detach().numpy()[..., None], quantizer))
    return found


def layer_values(model: onnx.ModelProto) -> list[tuple[NDArray[np.float32], NDArray[np.uint8]]]:
    """For each PRelu of the graph what its convolution gave, and the bytes that the next layers read."""
    readers = {name: node for node in model.graph.node for name in node.input}
    wanted = []
    for node in model.graph.node:
        if node.op_type == "PRelu":
            last = readers[node.output[0]]
            assert last.op_type == "QuantizeLinear"
            if readers[last.output[0]].op_type == "Min":
                last = readers[last.output[0]]
            wanted += [node.input[0], last.output[0]]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(wanted, {"images": IMAGES})
    return list(zip(values[::2], values[1::2], strict=True))


@pytest.mark.parametrize("slopes", [(-0.7, 0.2), (1.5, 0.9), SLOPES], ids=str)
@pytest.mark.parametrize("bits", [8, 5])
@pytest.mark.parametrize("name", ["bottleneck", "preactivation", "convolution-head"])
def test_each_layer_rounds_once(name: str, bits: int, slopes: tuple[float, ...]) -> None:
    """round(prelu(x) / scale) + zero point, in numpy from what the convolution gave."""
    student = make_student(randomize(NETWORKS[name](), slopes=slopes), activation_bits=bits)
    wanted, found = fused_prelus(student), layer_values(OPENVINO.write(student))
    assert len(wanted) == len(found) > 0
    for (slope, quantizer), (values, integers) in zip(wanted, found, strict=True):
        scale, zero_point = float(quantizer.scale.detach()), quantizer.integer_zero_point - quantizer.lowest
        activated = np.where(values > 0, values, values * slope).astype(np.float64)
        expected = np.clip(np.rint(activated / scale) + zero_point, 0, 2**bits - 1)
        assert len(np.unique(integers)) > 2**bits / 3
        different = np.abs(integers - expected)
        assert different.max() <= 1
        assert (different > 0).mean() <= 1e-4


def test_other_readers_and_other_producers_keep_the_maximum() -> None:
    student = make_student(randomize(AroundPRelu(), slopes=(-0.3, 0.1, 0.8)))
    operators = [node.op_type for node in OPENVINO.write(student).graph.node]
    assert (operators.count("PRelu"), operators.count("Max")) == (2, 2)


def test_only_where_the_target_takes_it() -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()))
    plain = dataclasses.replace(OPENVINO, passes=tuple(each for each in OPENVINO.passes if each is not FUSE_PRELUS))
    for target in (plain, find_target("ort-cpu")):
        operators = {node.op_type for node in target.write(student).graph.node}
        assert "PRelu" not in operators
        assert "Max" in operators


@pytest.mark.parametrize("name", ["bottleneck", "preactivation", "convolution-head"])
def test_openvino_computes_it_in_the_integer_kernel(name: str, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    student = make_student(randomize(NETWORKS[name]()))
    path = tmp_path / "model.onnx"
    path.write_bytes(OPENVINO.write(student).SerializeToString())
    coverage = measure_coverage(path, images=IMAGES, runs=1, backend="openvino")
    assert coverage.multiply_add_fraction == 1.0
    assert coverage.float_islands == coverage.float_products == ()
    wanted = torch_embedding(IntegerReference(student), torch.device("cpu"))(IMAGES)
    assert float((OpenVinoModel(path, threads=1, reduced_range=True).run(IMAGES) * wanted).sum(1).min()) >= 0.99
