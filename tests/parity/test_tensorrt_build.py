"""Engines by the real TensorRT-RTX builder, which needs no GPU: what it makes of EFQ's graphs and of bad ones."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from messages import names, raises_naming
from networks import NETWORKS, make_student, random_images, randomize
from onnx import TensorProto, helper

from efq.export.targets.tensorrt.engine_coverage import engine_coverage
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.export.targets.tensorrt.target import TRT
from efq.runtime.errors import CoverageError, EngineBuildError, MissingDependencyError, UsageError
from efq.runtime.tensorrt.build.builder import LOG_FILE, PLAN_FILE, build_engine
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.engine_cache import read_engine, rebuild_engine, write_options
from efq.runtime.tensorrt.fingerprint import EngineMachine
from efq.runtime.tensorrt.module import is_installed

RTX = pytest.mark.skipif(not is_installed("trt-rtx"), reason="tensorrt-rtx is not installed")
IMAGES = random_images(8).numpy()
SMALL = BuildOptions(batches=(1, 2, 4), compute_capabilities=("8.6",))


def write_graph(name: str, path: Path, **recipe: object) -> onnx.ModelProto:
    student = make_student(randomize(NETWORKS[name]()), **recipe)
    model = TRT.write(symmetric_form(student, IMAGES)[0])
    path.write_bytes(model.SerializeToString())
    return model


@RTX
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize(
    "recipe", [{"symmetric_activations": True}, {"activation": "relu"}, {"weight_bits": 4}], ids=str
)
def test_every_product_runs_in_int8(name: str, recipe: dict[str, object], tmp_path: Path) -> None:
    model = write_graph(name, tmp_path / "model.onnx", **recipe)
    built = build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, SMALL)
    report = engine_coverage(model, built.layers, runtime=f"TensorRT-RTX {built.version}")
    report.check(allow_float=False)
    products = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert report.convolutions.total + report.matrix_products.total == len(products)
    assert report.multiply_adds.integer == report.multiply_adds.total > 10_000
    assert report.float_products == ()
    assert bool(report.float_islands) == (name == "pooling")  # float16 pools and their activations
    assert built.plan.stat().st_size > 10_000
    assert "Layers:" in (tmp_path / LOG_FILE).read_text()


class Shown:
    """A `ShowProgress` that counts."""

    def __init__(self) -> None:
        self.descriptions: list[str] = []
        self.steps = 0

    @contextlib.contextmanager
    def __call__(self, description: str, total: int | None, unit: str = "") -> Iterator[Shown]:
        self.descriptions.append(description)
        yield self

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.steps += n


@RTX
def test_a_product_without_quantizers_is_found(tmp_path: Path) -> None:
    """One convolution's DequantizeLinear on its input is taken away: it runs in float, and the report names it."""
    model = write_graph("bottleneck", tmp_path / "model.onnx", symmetric_activations=True)
    made_by = {output: node for node in model.graph.node for output in node.output}
    convolution = [node for node in model.graph.node if node.op_type == "Conv"][2]
    dequantize = made_by[convolution.input[0]]
    convolution.input[0] = made_by[dequantize.input[0]].input[0]
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    shown = Shown()
    built = build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, SMALL, progress=shown)
    assert len(shown.descriptions) == 1
    assert shown.steps > 0
    report = engine_coverage(model, built.layers, runtime="TensorRT-RTX")
    assert [node.name for node in report.float_products] == [convolution.name]
    with raises_naming(CoverageError, convolution.name):
        report.check(allow_float=False)
    report.check(allow_float=True)


@RTX
def test_a_graph_that_crashes_the_builder_is_an_error(tmp_path: Path, cache_folder: Path) -> None:
    """An activation scale that is no constant: TensorRT-RTX 1.7 dies of SIGSEGV, EFQ says so and keeps the log."""
    scale = helper.make_tensor_value_info("scale", TensorProto.FLOAT, [])
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 4, 8, 8])
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, 4, 1, 1], [0.1] * 16)
    zero = helper.make_tensor("z", TensorProto.INT8, [], [0])
    nodes = [
        helper.make_node("QuantizeLinear", ["images", "scale", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "z"], ["x"]),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])
    graph = helper.make_graph(nodes, "crash", [images, scale], [output], [weights, zero])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    with raises_naming(EngineBuildError, cache_folder / "build-logs"):
        build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, SMALL)
    assert not (tmp_path / PLAN_FILE).exists()


@RTX
def test_bad_input_is_an_error(tmp_path: Path, cache_folder: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"\x08\x01junk")
    with raises_naming(EngineBuildError, "tensorrt_rtx", cache_folder / "build-logs"):
        build_engine("trt-rtx", tmp_path / "junk.onnx", tmp_path, SMALL)
    with raises_naming(EngineBuildError, tmp_path / "missing.onnx"):
        build_engine("trt-rtx", tmp_path / "missing.onnx", tmp_path, SMALL)
    model = write_graph("bottleneck", tmp_path / "model.onnx", symmetric_activations=True)
    assert model.graph.node
    for options, facts in (
        (BuildOptions(compute_capabilities=("9.0",)), ("7.5", "8.0", "9.0")),
        (BuildOptions(version_compatible=True), ("--compute-capability",)),
    ):
        with raises_naming(UsageError, "tensorrt_rtx", *facts):
            build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, options)
    with raises_naming(UsageError, "tensorrt_rtx", "timing cache"):
        build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, SMALL, timing_cache=tmp_path / "cache")
    with raises_naming(EngineBuildError, "time", cache_folder / "build-logs"):
        build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, SMALL, timeout=0.01)


@RTX
def test_a_failed_build_leaves_its_log_in_the_cache_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, temporary, folder = (tmp_path / name for name in ("cache", "temporary", "folder"))
    monkeypatch.setenv("EFQ_CACHE", str(cache))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    temporary.mkdir()
    folder.mkdir()
    (folder / "junk.onnx").write_bytes(b"\x08\x01junk")
    messages = []
    for _ in range(2):
        with pytest.raises(EngineBuildError) as caught:
            build_engine("trt-rtx", folder / "junk.onnx", folder, SMALL)
        messages.append(str(caught.value))
    (kept,) = (cache / "build-logs").iterdir()
    for message in messages:
        names(message, kept)
    assert kept.read_bytes() == (folder / LOG_FILE).read_bytes()
    write_graph("bottleneck", folder / "model.onnx", symmetric_activations=True)
    with pytest.raises(UsageError) as refused:  # the message says it all
        build_engine("trt-rtx", folder / "model.onnx", folder, SMALL, timing_cache=tmp_path / "timings")
    assert str(cache) not in str(refused.value)
    assert list((cache / "build-logs").iterdir()) == [kept]
    assert list(temporary.iterdir()) == []


@RTX
def test_a_log_that_cannot_be_kept_is_said_to_be_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    (tmp_path / "junk.onnx").write_bytes(b"\x08\x01junk")
    why = os.strerror(errno.ENOTDIR)
    with raises_naming(EngineBuildError, "tensorrt_rtx", tmp_path / "cache" / "build-logs", why):
        build_engine("trt-rtx", tmp_path / "junk.onnx", tmp_path, SMALL)


@RTX
def test_rebuild_from_the_model(tmp_path: Path) -> None:
    """The plan is a cache: made again by the real builder, with the options stored beside it."""
    write_graph("bottleneck", tmp_path / "model.onnx", symmetric_activations=True)
    write_options(tmp_path / "engine", SMALL)
    machine = EngineMachine(version="1.7.1.116", cuda="13.0", gpu="NVIDIA L4", compute_capability="8.9")
    plan, fingerprint = rebuild_engine(
        tmp_path / "engine", tmp_path / "model.onnx", "trt-rtx", machine, device="cuda:0", allow_float=False
    )
    machine = dataclasses.replace(machine, version=fingerprint.version)
    assert read_engine(tmp_path / "engine", tmp_path / "model.onnx", machine) == (plan, fingerprint)
    assert fingerprint.options.batches == SMALL.batches
    assert fingerprint.compute_capabilities == ("8.6", "8.9")  # those asked for, and this machine's
    assert len(plan) > 10_000


@pytest.mark.skipif(is_installed("trt"), reason="tensorrt is installed")
def test_without_the_package(tmp_path: Path) -> None:
    with raises_naming(MissingDependencyError, "tensorrt", "pip install 'efq[trt]'"):
        build_engine("trt", tmp_path / "model.onnx", tmp_path, SMALL)
