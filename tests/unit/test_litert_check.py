"""What a .tflite file may hold: what EFQ writes, and nothing that LiteRT would trust wrongly."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from litert_files import PATH, changed, mutated, tiny_file
from messages import raises_naming

from efq.runtime.errors import IncompatibleArtifactError
from efq.runtime.litert.model_check import check_litert
from efq.runtime.litert.model_file import read_litert_file

pytest.importorskip("ai_edge_litert")

Change = Callable[[Any, Any], None]


@pytest.fixture(scope="module")
def content() -> bytes:
    return tiny_file()


def operator_of(graph: Any, model: Any, builtin: int) -> Any:
    return next(op for op in graph.operators if model.operatorCodes[op.opcodeIndex].builtinCode == builtin)


def custom(model: Any, graph: Any) -> None:
    model.operatorCodes[0].customCode = "anything"


def while_loop(model: Any, graph: Any) -> None:
    model.operatorCodes[0].builtinCode = 119


def two_graphs(model: Any, graph: Any) -> None:
    model.subgraphs.append(graph)


def short_weights(model: Any, graph: Any) -> None:
    buffer = next(buffer for buffer in model.buffers if buffer.data is not None)
    buffer.data = buffer.data[:-1]


def huge_images(model: Any, graph: Any) -> None:
    graph.tensors[graph.inputs[0]].shape = [1, 2**30, 2**30, 3]


def no_image_at_all(model: Any, graph: Any) -> None:
    graph.tensors[graph.inputs[0]].shape = [1, 0, 0, 3]


def large_output(model: Any, graph: Any) -> None:
    graph.tensors[graph.operators[3].outputs[0]].shape = [1, 1000, 1000, 8]


def tensor_of_nobody(model: Any, graph: Any) -> None:
    graph.operators[0].inputs = [len(graph.tensors)]


def negative_tensor(model: Any, graph: Any) -> None:
    graph.operators[0].inputs = [-1]


def backwards(model: Any, graph: Any) -> None:
    graph.operators = graph.operators[::-1]


def twice_given(model: Any, graph: Any) -> None:
    graph.operators.append(graph.operators[-1])


def no_stride(model: Any, graph: Any) -> None:
    operator_of(graph, model, 3).builtinOptions.strideH = 0


def unknown_padding(model: Any, graph: Any) -> None:
    operator_of(graph, model, 3).builtinOptions.padding = 2


def activation(model: Any, graph: Any) -> None:
    operator_of(graph, model, 3).builtinOptions.fusedActivationFunction = 1


def negative_pads(model: Any, graph: Any) -> None:
    tensor = graph.tensors[operator_of(graph, model, 34).inputs[1]]
    model.buffers[tensor.buffer].data = np.full(8, -1, np.int32).view(np.uint8)


def scale_that_is_no_number(model: Any, graph: Any) -> None:
    graph.tensors[graph.operators[2].outputs[0]].quantization.scale = np.array([np.nan], np.float32)


def zero_point_beyond(model: Any, graph: Any) -> None:
    graph.tensors[graph.operators[2].outputs[0]].quantization.zeroPoint = np.array([128], np.int64)


def variable(model: Any, graph: Any) -> None:
    graph.tensors[5].isVariable = True


def free_batch(model: Any, graph: Any) -> None:
    graph.tensors[0].shapeSignature = [-1, 28, 28, 3]


def elsewhere(model: Any, graph: Any) -> None:
    model.buffers[0].offset, model.buffers[0].size = 4096, 4096


def metadata(model: Any, graph: Any) -> None:
    model.metadataBuffer = [0]


def another_output(model: Any, graph: Any) -> None:
    graph.outputs = [graph.operators[0].outputs[0]]


CHANGES = (
    custom, while_loop, two_graphs, short_weights, huge_images, no_image_at_all, large_output, tensor_of_nobody,
    negative_tensor, backwards, twice_given, no_stride, unknown_padding, activation, negative_pads,
    scale_that_is_no_number, zero_point_beyond, variable, free_batch, elsewhere, metadata, another_output,
)  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_what_efq_does_not_write_is_refused(content: bytes, change: Change) -> None:
    with raises_naming(IncompatibleArtifactError, "model.tflite", "export it again"):
        check_litert(changed(content, change), PATH)


def test_what_litert_writes_again_is_taken(content: bytes) -> None:
    """So that it is the change that is refused above."""
    again = changed(content, lambda model, graph: None)
    check_litert(again, PATH)
    assert len(read_litert_file(again).operators) == len(read_litert_file(content).operators)


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x08\0\0\0TFL3", b"\x08\0\0\0TFL3" + bytes(64), b"\xff" * 4096])
def test_what_is_no_file_of_litert_is_refused(content: bytes) -> None:
    with raises_naming(IncompatibleArtifactError, "model.tflite"):
        check_litert(content, PATH)


def test_every_cut_is_refused(content: bytes) -> None:
    for length in range(0, len(content) - 1, 97):
        with pytest.raises(IncompatibleArtifactError):
            check_litert(content[:length], PATH)


def test_damage_is_refused_or_harmless(content: bytes) -> None:
    """Any other exception fails; what LiteRT makes of the accepted ones: tests/scripts/fuzz_litert.py."""
    draw, refused = random.Random(0), 0
    for _ in range(1000):
        try:
            check_litert(mutated(content, draw), PATH)
        except IncompatibleArtifactError:
            refused += 1
    assert 200 < refused < 1000
