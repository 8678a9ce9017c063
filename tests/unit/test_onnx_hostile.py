"""ONNX files that are damaged or made to harm: an error in EFQ's own words, in bounded time and memory."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from fuzz_onnx import bases, file_of, outcome
from messages import raises_naming
from onnx import TensorProto, helper
from onnx_graphs import flat, imported, model, node
from onnx_graphs import random as numbers

from efq.runtime.errors import CheckpointError


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_is_refused_or_computes_what_onnx_runtime_does(tmp_path: Path, seed: int) -> None:
    models = bases()
    for number in range(10):
        path = tmp_path / "model.onnx"
        path.write_bytes(file_of(models, random.Random(f"test {seed}/{number}")))
        outcome(path)


def test_a_circle_of_nodes(tmp_path: Path) -> None:
    nodes = [node("Add", ["x", "b"], "a"), node("Relu", ["a"], "b"), node("Relu", ["b"])]
    with raises_naming(CheckpointError, "circle"):
        imported(flat(nodes), tmp_path)


def test_inputs_that_nothing_makes(tmp_path: Path) -> None:
    with raises_naming(CheckpointError, "'nothing'", "Relu"):
        imported(flat([node("Relu", ["nothing"])]), tmp_path)


def test_weights_that_claim_more_than_they_hold(tmp_path: Path) -> None:
    proto = flat([node("Conv", ["x", "w"])])
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**31, 3, 2**20, 3], raw_data=b"\0" * 16)
    proto.graph.initializer.append(tensor)
    with raises_naming(CheckpointError, "weights"):
        imported(proto, tmp_path)
    tensor.dims[:] = [4, 3, 3, 3]
    proto.graph.initializer[0].CopyFrom(tensor)
    with raises_naming(CheckpointError, "'w'", "[4, 3, 3, 3]"):
        imported(proto, tmp_path)


def test_constants_that_grow(tmp_path: Path) -> None:
    weights = {"a": numbers(1000, 1), "b": numbers(1, 1000), "shape": np.array([1000, 1000, 1000])}
    for nodes in (
        [node("MatMul", ["a", "b"], "c"), node("Expand", ["c", "shape"], "e")],
        [node("ConstantOfShape", ["shape"], "e")],
    ):
        with raises_naming(CheckpointError, f"'{nodes[-1].name}'", "1000"):
            imported(flat([*nodes, node("Mul", ["x", "e"])], weights), tmp_path)


def test_an_image_blown_up(tmp_path: Path) -> None:
    pads = {"p": np.array([0, 0, 10**6, 10**6, 0, 0, 10**6, 10**6])}
    with raises_naming(CheckpointError, "Pad"):
        imported(flat([node("Pad", ["x", "p"])], pads), tmp_path)


def test_a_deep_tower_of_layers_ends(tmp_path: Path) -> None:
    nodes = [node("Relu", ["x" if number == 0 else f"v{number - 1}"], f"v{number}") for number in range(20_001)]
    with raises_naming(CheckpointError, "20,003"):
        imported(flat([*nodes, node("Relu", ["v20000"])]), tmp_path)


def test_text_and_sequences_are_no_images(tmp_path: Path) -> None:
    proto = model([node("Flatten", ["x"])], kind=TensorProto.STRING)
    with raises_naming(CheckpointError, "'x'"):
        imported(proto, tmp_path)
    proto.graph.input[0].CopyFrom(helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1, 3, 9, 10]))
    with raises_naming(CheckpointError, "'x'"):
        imported(proto, tmp_path)
