"""What a model.onnx may hold: what EFQ writes for all its targets, and nothing that a runtime ends badly with."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from artifacts import EMBEDDING_SIZE, make_manifest, make_model
from fuzz_artifacts import Original, make_originals
from messages import names, raises_naming
from model_mutations import (
    constant_of_shape,
    endless_loop,
    external_data,
    mutated_model,
    nested_functions,
    transpose_before_pad,
)
from networks import NETWORKS, make_student, randomize
from onnx import TensorProto, helper, numpy_helper

from efq.export import find_target
from efq.export.surface import with_interface
from efq.runtime import IncompatibleArtifactError, Interface
from efq.runtime.artifact.model_check import check_model
from efq.runtime.artifact.onnx_metadata import onnx_metadata_of

PATH = Path("model.onnx")
QUICK = 5.0  # seconds of computing that refusing or accepting any model takes at most


@pytest.fixture(scope="module")
def originals() -> list[Original]:
    return make_originals()


@pytest.fixture
def tiny() -> onnx.ModelProto:
    return make_model(make_manifest())


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in model.graph.initializer if tensor.name == name)


def put_before_gemm(model: onnx.ModelProto, *nodes: onnx.NodeProto) -> None:
    """Between "features" and the matrix product, which reads what the last one gives."""
    product = next(node for node in model.graph.node if node.op_type == "MatMul")
    place = list(model.graph.node).index(product)
    product.input[0] = nodes[-1].output[0]
    for offset, node in enumerate(nodes):
        model.graph.node.insert(place + offset, node)


def check(model: onnx.ModelProto) -> None:
    check_model(model.SerializeToString(), PATH)


def test_what_the_exporters_write_is_accepted(originals: list[Original]) -> None:
    for original in originals:
        check_model(original.model, PATH)
        assert onnx_metadata_of(original.model, PATH)["efq.contract"]


@pytest.mark.parametrize(
    ("mutation", "found"),
    [
        (transpose_before_pad, "Transpose"),
        (endless_loop, "subgraph"),
        (nested_functions, "functions"),
        (external_data, "external_data"),
        (constant_of_shape, "ConstantOfShape"),
    ],
)
def test_what_runtimes_end_badly_with_is_refused(originals: list[Original], mutation: object, found: str) -> None:
    model = onnx.load_from_string(originals[0].model)
    mutation(model, random.Random(0))  # type: ignore[operator]
    with pytest.raises(IncompatibleArtifactError, match=found) as caught:
        check(model)
    names(caught.value, PATH, "efq-export")


@pytest.mark.parametrize("opset", [0, 12, 25, 2**40, -1])
def test_other_opsets_are_refused(tiny: onnx.ModelProto, opset: int) -> None:
    tiny.opset_import[0].version = opset
    with raises_naming(IncompatibleArtifactError, opset, 24):
        check(tiny)


def test_operators_of_other_domains_are_refused(tiny: onnx.ModelProto) -> None:
    tiny.graph.node[0].domain = "com.microsoft"
    with raises_naming(IncompatibleArtifactError, "com.microsoft"):
        check(tiny)
    tiny.graph.node[0].domain = ""
    tiny.opset_import.add(domain="own", version=1)
    with raises_naming(IncompatibleArtifactError, "own"):
        check(tiny)


def test_a_hundred_thousand_nodes_are_refused_at_once(tiny: onnx.ModelProto) -> None:
    chain = [helper.make_node("Relu", [f"r{i}" if i else "features"], [f"r{i + 1}"]) for i in range(100_000)]
    tiny.graph.node.extend(chain)
    start = time.thread_time()
    with raises_naming(IncompatibleArtifactError, "65,536"):
        check(tiny)
    assert time.thread_time() - start < QUICK


def test_paths_that_double_with_each_node_are_refused(tiny: onnx.ModelProto) -> None:
    """A runtime's passes follow each of them."""
    adds = [helper.make_node("Add", [f"a{i}" if i else "features"] * 2, [f"a{i + 1}"]) for i in range(40)]
    put_before_gemm(tiny, *adds)
    with raises_naming(IncompatibleArtifactError, f"{2**22:,}"):
        check(tiny)


def test_values_and_work_are_bounded(tiny: onnx.ModelProto) -> None:
    convolution = next(node for node in tiny.graph.node if node.op_type == "Conv")
    del convolution.attribute[:]
    convolution.attribute.append(helper.make_attribute("pads", [255] * 4))
    wide = np.zeros((64, 3, 1, 1), np.float32)
    initializer(tiny, "convolution").CopyFrom(numpy_helper.from_array(wide, "convolution"))
    with raises_naming(IncompatibleArtifactError, "Conv", f"{64 * 622**2:,}"):
        check(tiny)


@pytest.mark.parametrize(
    ("dims", "size"), [([2**31, 2**31], 0), ([-1], 4), ([0], 0), ([4], 15), ([4], 17), ([1] * 5, 4)]
)
def test_initializers_are_as_large_as_they_say(tiny: onnx.ModelProto, dims: list[int], size: int) -> None:
    tensor = initializer(tiny, "linear")
    del tensor.dims[:]
    tensor.dims.extend(dims)
    tensor.raw_data = bytes(size)
    with raises_naming(IncompatibleArtifactError, "linear"):
        check(tiny)


def test_values_are_given_once_and_before_they_are_read(tiny: onnx.ModelProto) -> None:
    twice = make_model(make_manifest())
    twice.graph.node.append(twice.graph.node[0])
    with raises_naming(IncompatibleArtifactError, twice.graph.node[0].output[0]):
        check(twice)
    first = tiny.graph.node[0]
    first.input[0] = "raw"
    with raises_naming(IncompatibleArtifactError, "raw"):
        check(tiny)


def test_the_output_is_of_unit_length(tiny: onnx.ModelProto) -> None:
    tiny.graph.node[-1].output[0] = "unit"
    tiny.graph.initializer.append(numpy_helper.from_array(np.full(EMBEDDING_SIZE, 7, np.float32), "seven"))
    tiny.graph.node.append(helper.make_node("Mul", ["unit", "seven"], ["embeddings"]))
    with raises_naming(IncompatibleArtifactError, "embeddings", "LpNormalization"):
        check(tiny)


def test_images_of_one_batch_do_not_meet(tiny: onnx.ModelProto) -> None:
    """Normalizing over the batch would make each embedding depend on the others."""
    tiny.graph.node[-1].attribute[0].i = 0
    with raises_naming(IncompatibleArtifactError, "LpNormalization"):
        check(tiny)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_are_finite_and_above_zero(tiny: onnx.ModelProto, scale: float) -> None:
    initializer(tiny, "scale").raw_data = np.float32(scale).tobytes()
    with raises_naming(IncompatibleArtifactError, "DequantizeLinear"):
        check(tiny)


def test_a_second_graph_is_not_read_by_one_parser_and_left_by_another(tiny: onnx.ModelProto) -> None:
    other = onnx.ModelProto(graph=tiny.graph).SerializeToString()
    with raises_naming(IncompatibleArtifactError, "graph", "twice"):
        check_model(tiny.SerializeToString() + other, PATH)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 1000,
        b"\xff" * 1000,
        b"<!DOCTYPE html>",
        b"\x08\x0a" * 2_000_000,
        onnx.ModelProto(ir_version=10, metadata_props=[{"key": "k" * 5_000_000}]).SerializeToString(),  # type: ignore[list-item]
    ],
)
def test_other_bytes_are_refused_at_once(content: bytes) -> None:
    start = time.thread_time()
    with raises_naming(IncompatibleArtifactError, PATH):
        check_model(content, PATH)
    assert time.thread_time() - start < QUICK


def packed(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    size, length = len(content), b""
    while size > 0x7F:
        length, size = length + bytes([size & 0x7F | 0x80]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


@pytest.mark.parametrize(
    "inside",
    [
        packed(5, packed(1, b"\x01" * 20_000_000)),  # an initializer of twenty million dimensions
        packed(1, packed(5, packed(8, b"\x01" * 20_000_000))),  # an attribute of as many numbers
        packed(1, packed(1, b"") * 10_000_000),  # a node of ten million inputs
        packed(1, b"") * 300_000,
        packed(11, packed(2, packed(1, packed(2, packed(1, b"") * 5_000_000)))),
    ],
    ids=["dimensions", "numbers", "inputs", "nodes", "sizes"],
)
def test_many_small_things_are_refused_before_they_are_counted_to_the_end(inside: bytes) -> None:
    content = packed(7, inside)
    start = time.thread_time()
    with raises_naming(IncompatibleArtifactError, PATH):
        check_model(content, PATH)
    assert time.thread_time() - start < QUICK


def test_any_hostile_change_is_accepted_or_refused_in_words(originals: list[Original]) -> None:
    """The runtimes get what is accepted in tests/scripts/fuzz_artifacts.py, in processes of their own."""
    for seed in range(40):
        draw = random.Random(seed)
        content, what = mutated_model(draw.choice(originals).model, draw)
        start = time.thread_time()
        try:
            check_model(content, PATH)
        except IncompatibleArtifactError as error:
            str(error).encode()
        assert time.thread_time() - start < QUICK, f"{seed} {what}"


def test_a_port_of_another_type_or_shape_is_refused(tiny: onnx.ModelProto) -> None:
    for dims, dtype in (
        ([None, 112, 112], TensorProto.UINT8),
        (["N", 112, 112, 3], TensorProto.FLOAT),
        (["N", 0, 112, 3], TensorProto.UINT8),
        (["N", 2**40, 112, 3], TensorProto.UINT8),
    ):
        del tiny.graph.input[:]
        tiny.graph.input.append(helper.make_tensor_value_info("images", dtype, dims))
        with raises_naming(IncompatibleArtifactError, "images"):
            check(tiny)


def _port(graph: onnx.GraphProto, place: int, size: int) -> None:
    graph.input[0].type.tensor_type.shape.dim[place].dim_value = size


def _port_type(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16


def _axis(graph: onnx.GraphProto, axis: int) -> None:
    next(node for node in graph.node if node.op_type == "Gather").attribute[0].i = axis


def _order(graph: onnx.GraphProto) -> None:
    next(tensor for tensor in graph.initializer if tensor.name == "image_channels").raw_data = np.array(
        [0, 1, 9], np.int64
    ).tobytes()


def _gather_later(graph: onnx.GraphProto) -> None:
    """Behind the first convolution."""
    first = next(node for node in graph.node if node.op_type == "Conv")
    place = list(graph.node).index(first)
    gathered = helper.make_node("Gather", [first.output[0], "image_channels"], ["gathered"], axis=1)
    for node in graph.node[place + 1 :]:
        node.input[:] = ["gathered" if name == first.output[0] else name for name in node.input]
    graph.node.insert(place + 1, gathered)


def _nothing_quantized(graph: onnx.GraphProto) -> None:
    """The floats themselves are laid out as bytes are."""
    quantizer = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    for node in graph.node:
        node.input[:] = [quantizer.input[0] if name == quantizer.output[0] else name for name in node.input]
    graph.node.remove(quantizer)


@pytest.mark.parametrize(
    "change",
    [
        lambda graph: _port(graph, 1, 4),
        lambda graph: _port(graph, 0, 2**40),
        _port_type,
        *(lambda graph, axis=axis: _axis(graph, axis) for axis in (2, 0, -1, 4)),
        _order,
        _gather_later,
        _nothing_quantized,
    ],
)
def test_a_surface_is_what_efq_writes(change: Callable[[onnx.GraphProto], None]) -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()), images=8)
    usual = find_target("ort-cpu").write(student)
    model = with_interface(usual, Interface.parse("float-nchw,bgr,imagenet"), student.contract)
    check(model)
    change(model.graph)
    with pytest.raises(IncompatibleArtifactError):
        check(model)
