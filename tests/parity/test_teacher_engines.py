"""Engines of the float teacher by the real TensorRT-RTX builder: every product in the type of the graph."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from networks import MEAN, NETWORKS, STD, randomize

from efq.benchmarks.engines.engine_sources import types_of_products
from efq.benchmarks.engines.teacher_graph import Precision, engine_graph
from efq.benchmarks.peers.float_teacher import export_float_onnx
from efq.runtime.artifact.contract import InputContract
from efq.runtime.tensorrt.build.builder import build_engine
from efq.runtime.tensorrt.build.options import BuildOptions
from efq.runtime.tensorrt.module import is_installed

SMALL = BuildOptions(batches=(1, 2, 4), compute_capabilities=("8.6",))


@pytest.mark.skipif(not is_installed("trt-rtx"), reason="tensorrt-rtx is not installed")
@pytest.mark.parametrize("name", NETWORKS)
def test_products_run_in_the_type_of_the_graph(name: str, tmp_path: Path) -> None:
    contract = InputContract(height=28, width=28)
    export_float_onnx(randomize(NETWORKS[name]()).eval(), tmp_path / "float.onnx", contract)
    network = onnx.load(tmp_path / "float.onnx")
    sizes = {}
    precisions: tuple[Precision, ...] = ("float32", "float16")
    for precision in precisions:
        graph = engine_graph(network, mean=MEAN, std=STD, contract=contract, precision=precision)
        products = sum(node.op_type in ("Conv", "Gemm", "MatMul") for node in graph.graph.node)
        (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
        built = build_engine("trt-rtx", tmp_path / "model.onnx", tmp_path, SMALL)
        assert types_of_products(graph, built.layers) == f"{products} {precision}"
        written = next(layer for layer in reversed(built.layers) if "normalization" in layer.nodes)
        assert written.outputs == ("float32",)
        sizes[precision] = built.plan.stat().st_size
    assert sizes["float16"] < sizes["float32"]
