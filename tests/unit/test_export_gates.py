"""Gates, swishes, shuffles and pads in the graphs of all targets: their integers, their kernels, what reports say."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from graphs import GRAPHS, Network, conv, faces, graph_of, make_graph_student
from torch import fx, nn

from efq.export import export_student, find_target
from efq.export.coverage.elementwise import FLOAT_ISLAND, FUSED, INTEGERS
from efq.export.coverage.report import CoverageReport
from efq.export.engine_settings import EngineSettings
from efq.export.qdq.passes.hardsigmoid_convolutions import (
    SLOPE_INTEGER,
    SLOPE_SCALE,
    hardsigmoid_convolutions,
    shift_of,
)
from efq.export.references.integer import IntegerReference
from efq.export.targets.target import ExportOptions
from efq.runtime import Embedder
from efq.runtime.artifact.model_check import check_model
from efq.runtime.backends.onnxruntime import OnnxRuntimeModel
from efq.toolchain.graph.operations import Add, ClippedRelu, Flatten, GlobalAveragePool, Multiply, SelectChannels
from efq.toolchain.graph.traversal import calls, module_of, producer, share_modules
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

ORT_CPU = find_target("ort-cpu")
IMAGES = faces(4, 32, 28, seed=7)
OPTIONS = ExportOptions(engine=EngineSettings(build=False))


@pytest.fixture(scope="module")
def students() -> dict[str, Student]:
    return {name: make_graph_student(graph_of(make()), images=16) for name, make in GRAPHS.items()}


def exported(student: Student, target: str, folder: Path) -> tuple[onnx.ModelProto, CoverageReport | None]:
    """The graph, checked as an artifact's is, in its runtime and against its student."""
    found = find_target(target)
    prepared = found.prepare(student, IMAGES.numpy(), OPTIONS)
    model = found.write(prepared.form)
    check_model(model.SerializeToString(), folder / "model.onnx")
    return model, found.check(prepared, model, IMAGES.numpy(), folder, OPTIONS).coverage


def operators(model: onnx.ModelProto) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("target", ["ort-cpu", "openvino", "trt-rtx"])
def test_every_multiply_add_is_integer_and_the_embeddings_are_the_students(
    students: dict[str, Student], name: str, target: str, tmp_path: Path
) -> None:
    _, coverage = exported(students[name], target, tmp_path)  # which checks the cosine to the student
    assert coverage is None or coverage.multiply_adds.fraction == 1


def test_swishes_and_gates_run_in_integers_in_onnx_runtime(students: dict[str, Student], tmp_path: Path) -> None:
    for name in ("hardswish-hardsigmoid", "silu-sigmoid"):
        _, coverage = exported(students[name], "ort-cpu", tmp_path)
        assert coverage is not None
        assert not coverage.float_islands
        assert coverage.float_time_share == 0
        assert {share.arithmetic for share in coverage.elementwise} == {INTEGERS}
        assert "QLinearMul" in {share.operations for share in coverage.elementwise}


def test_the_report_names_float_islands_and_their_time(students: dict[str, Student], tmp_path: Path) -> None:
    _, coverage = exported(students["gelu-hardsigmoid"], "ort-cpu", tmp_path)
    assert coverage is not None
    (gelu,) = [share for share in coverage.elementwise if share.operations == "Gelu"]
    assert (gelu.nodes, gelu.arithmetic) == (3, FLOAT_ISLAND)
    assert gelu.time_share is not None
    assert coverage.float_time_share is not None
    assert 0 < gelu.time_share < coverage.float_time_share < 1
    assert "Gelu" in str(coverage)


def test_openvino_computes_whole_activations_within_convolutions(students: dict[str, Student], tmp_path: Path) -> None:
    model, coverage = exported(students["hardswish-hardsigmoid"], "openvino", tmp_path)
    assert (operators(model)["HardSwish"], operators(model)["HardSigmoid"], operators(model)["Mul"]) == (3, 0, 12)
    assert coverage is not None
    assert [share.nodes for share in coverage.elementwise if share.operations == "HardSwish"] == [3]
    assert FUSED in {share.arithmetic for share in coverage.elementwise}


def test_pads_are_those_of_convolutions_where_these_alone_read_them(
    students: dict[str, Student], tmp_path: Path
) -> None:
    for target in ("ort-cpu", "trt-rtx"):
        model, _ = exported(students["padded"], target, tmp_path)
        pads = [
            list(attribute.ints)
            for node in model.graph.node
            if node.op_type == "Conv"
            for attribute in node.attribute
            if attribute.name == "pads"
        ]
        assert pads == [[0, 0, 1, 1], [1, 2, 1, 2], [1, 2, 3, 1]]
        assert operators(model)["Pad"] == 1  # in front of the pool


@contextlib.contextmanager
def gates_ending_at(student: Student, *ends: float) -> Iterator[int]:
    """The grids of the Hardsigmoids end at `ends`, in turn; gives their number."""
    gates = [
        quantizer.log_scale
        for node, quantizer in calls(student.network, ActivationQuantizer)
        if isinstance(module_of(student.network, producer(node)), nn.Hardsigmoid)
    ]
    before = [float(scale.detach()) for scale in gates]
    with torch.no_grad():
        try:
            for scale, end in zip(gates, itertools.cycle(ends), strict=False):
                scale.fill_(math.log(end / 255))
            yield len(gates)
        finally:
            for scale, value in zip(gates, before, strict=True):
                scale.fill_(value)


def test_a_grid_beyond_1_keeps_the_hardsigmoid_that_ends_there(students: dict[str, Student]) -> None:
    student = students["hardswish-hardsigmoid"]
    with gates_ending_at(student, 1.1, 0.9, 0.9) as gates:
        assert gates == 3
        assert hardsigmoid_convolutions(share_modules(student.network), student.contract).changed == 2


def student_up_to(student: Student, quantizer: fx.Node) -> Student:
    """The student whose embedding is all that `quantizer` gives."""
    network = share_modules(student.network)
    (output,) = network.graph.find_nodes(op="output")
    (end,) = [node for node in network.graph.nodes if node.name == quantizer.name]
    with network.graph.inserting_before(output):
        network.add_submodule("flatten_end", Flatten())
        output.replace_input_with(producer(output), network.graph.call_module("flatten_end", (end,)))
    network.graph.eliminate_dead_code()
    network.recompile()
    size = int(network(IMAGES[:1]).shape[1])
    return dataclasses.replace(student, network=network, embedding_size=size)


@pytest.mark.parametrize("end", [0.6, 1.0, 1.1])
def test_the_reference_has_every_byte_of_gates_and_means_in_onnx_runtime(
    end: float, students: dict[str, Student], tmp_path: Path
) -> None:
    """Those that differ are amplified behind it: to a cosine of 0.988 in an untrained MobileNetV3-Large."""
    student, path = students["hardswish-hardsigmoid"], tmp_path / "model.onnx"
    images = faces(32, 32, 28, seed=3).numpy()
    with gates_ending_at(student, end):
        for node, _ in calls(student.network, ActivationQuantizer):
            kind = type(module_of(student.network, producer(node)))
            if kind in (nn.Hardsigmoid, GlobalAveragePool, Multiply):
                part = student_up_to(student, node)
                path.write_bytes(ORT_CPU.write(part).SerializeToString())
                wanted = torch_embedding(IntegerReference(part), torch.device("cpu"))(images)
                with contextlib.closing(OnnxRuntimeModel(path, threads=1, reduced_range=True)) as model:
                    np.testing.assert_allclose(model.run(images), wanted, atol=1e-6, err_msg=str(node.target))


def test_a_hardsigmoid_written_as_a_convolution_is_the_hardsigmoid() -> None:
    """Of every byte of several grids, but for ties."""
    for scale, zero_point in ((0.05, 128), (0.01, 3), (0.3, 200)):
        levels = (np.arange(256) - zero_point) * np.float32(scale)
        sums = (np.arange(256) - zero_point) * SLOPE_INTEGER + shift_of(scale)
        found = np.clip(np.rint(sums * (scale * SLOPE_SCALE) * 255), 0, 255)
        wanted = np.rint(np.clip(levels / 6 + 0.5, 0, 1) * 255)
        assert np.abs(found - wanted).max() <= 1
        assert (found != wanted).mean() < 0.05


def test_requantized_for_tensorrt_swishes_are_whole_and_clamps_stay(
    students: dict[str, Student], tmp_path: Path
) -> None:
    model, _ = exported(students["hardswish-hardsigmoid"], "trt-rtx", tmp_path)
    assert (operators(model)["HardSwish"], operators(model)["Clip"]) == (3, 2)
    model, _ = exported(students["silu-sigmoid"], "trt-rtx", tmp_path)
    assert (operators(model)["Sigmoid"], operators(model)["Mul"]) == (5, 6)  # one is that of the image


@pytest.mark.parametrize("target", ["ort-cpu", "openvino"])
def test_an_artifact_of_a_gated_network_opens(target: str, students: dict[str, Student], tmp_path: Path) -> None:
    export_student(students["silu-sigmoid"], find_target(target), tmp_path / "artifact", bits=8)
    card = (tmp_path / "artifact" / "README.md").read_text(encoding="utf-8")
    assert "elementwise operation" in card
    backend = "openvino" if target == "openvino" else "onnxruntime"
    with Embedder.open(tmp_path / "artifact", device="cpu", backend=backend) as embedder:
        assert embedder.embed(IMAGES.numpy()).shape == (4, 16)


class _Selected(Network):
    """Channels of a convolution, beside all of them."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.first, self.clamp, self.select = conv(3, 24, 3, 4), ClippedRelu(3.0), SelectChannels(channels)
        self.wide, self.narrow, self.sum = conv(24, 24), conv(len(channels), 24), Add()

    def features(self, values: torch.Tensor) -> torch.Tensor:
        values = self.clamp(self.first(values))
        result: torch.Tensor = self.sum(self.wide(values), self.narrow(self.select(values)))
        return result


def test_selected_channels_of_bytes_are_selected_bytes(tmp_path: Path) -> None:
    """A part of what others read, in an order of its own: Gather; a run of channels: Slice."""
    for channels, operator in (((3, 1, 1, 7), "Gather"), ((2, 3, 4, 5), "Slice")):
        graph = graph_of(_Selected(channels))
        student = make_graph_student(graph, images=8)
        model, coverage = exported(student, "ort-cpu", tmp_path)
        assert operators(model)[operator] == 1
        assert coverage is not None
        assert not coverage.conversions
