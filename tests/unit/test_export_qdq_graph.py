"""The exported graph against the torch student, in ONNX Runtime with its optimizations off and on."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from messages import raises_naming
from networks import NETWORKS, SLOPES, conv_block, make_student, random_images, randomize
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from efq.export.coverage.measurement import measure_coverage
from efq.export.qdq.weights import integer_layer
from efq.export.references.integer import IntegerReference
from efq.export.targets import find_target
from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.traversal import calls, insert_behind
from efq.toolchain.networks import torch_embedding
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.student import Student

ORT_CPU = find_target("ort-cpu")
IMAGES = random_images(7, seed=4)


def run(model: onnx.ModelProto, images: Tensor, *, optimized: bool) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimized else levels.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: NDArray[np.float32] = session.run(["embeddings"], {"images": images.numpy()})[0]
    return result


def assert_same_embeddings(found: NDArray[np.float32], student: Student, least: float = 0.9999) -> None:
    """`least` cosine to the student in integers; fake quantization and unfused kernels round a few values otherwise."""
    integers = (found * embed(IntegerReference(student))).sum(1)
    assert float(integers.min()) >= least
    simulated = (found * embed(student.network)).sum(1)
    assert float(np.median(simulated)) >= 0.998
    assert float(simulated.min()) >= 0.99


def embed(network: nn.Module) -> NDArray[np.float32]:
    return torch_embedding(network, torch.device("cpu"))(IMAGES.numpy())


@pytest.fixture(scope="module")
def bottleneck() -> Student:
    return make_student(randomize(NETWORKS["bottleneck"]()))


@pytest.mark.parametrize("activation", ["relu", "leaky", "prelu", "mixed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_graph_gives_the_embeddings_of_the_student_in_integers(name: str, activation: str, tmp_path: Path) -> None:
    student = make_student(randomize(NETWORKS[name]()), activation=activation)
    model = ORT_CPU.write(student)
    for optimized in (False, True):
        found = run(model, IMAGES, optimized=optimized)
        assert found.dtype == np.float32
        assert_same_embeddings(found, student, 0.9999 if optimized else 0.99)
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    coverage = measure_coverage(path, images=IMAGES.numpy(), runs=1)
    assert coverage.multiply_add_fraction == 1.0
    assert coverage.float_islands == coverage.float_products == ()


@pytest.mark.parametrize("slopes", [(-0.7,), (0.2, 0.9), (1.0,), (1.5, 3.0), SLOPES], ids=str)
@pytest.mark.parametrize("bits", [8, 4])
def test_slopes_and_bits(slopes: tuple[float, ...], bits: int) -> None:
    student = make_student(randomize(NETWORKS["preactivation"](), slopes=slopes), weight_bits=bits)
    model = ORT_CPU.write(student)
    assert_same_embeddings(run(model, IMAGES, optimized=True), student)


def test_batch_is_dynamic(bottleneck: Student) -> None:
    model = ORT_CPU.write(bottleneck)
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    whole = run(model, IMAGES, optimized=True)
    for count in (1, 2, 7):
        found = run(model, IMAGES[:count], optimized=True)
        assert found.shape == (count, 16)
        np.testing.assert_array_equal(found, whole[:count])


def test_integers_are_stored(bottleneck: Student) -> None:
    """int8 weights with bfloat16 scales, int32 biases; the only float32 constants are scales."""
    model = ORT_CPU.write(bottleneck)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    operators = collections.Counter(node.op_type for node in model.graph.node)
    assert set(operators) == {
        *("Transpose", "DequantizeLinear", "QuantizeLinear", "Conv", "Gemm", "Add", "Max", "Mul", "Cast", "Flatten"),
        *("LpNormalization", "Reshape"),
    }
    producers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight, *bias = (producers[name] for name in node.input[1:])
            assert weight.op_type == "DequantizeLinear"
            assert constants[weight.input[0]].data_type == TensorProto.INT8
            assert constants[producers[weight.input[1]].input[0]].data_type == TensorProto.BFLOAT16
            for dequantized in bias:
                if (cast := producers.get(dequantized.input[0])) is not None:
                    assert constants[cast.input[0]].data_type == TensorProto.INT16
                else:
                    assert constants[dequantized.input[0]].data_type == TensorProto.INT32
    floats = [numpy_helper.to_array(tensor) for tensor in constants.values() if tensor.data_type == TensorProto.FLOAT]
    assert all(value.ndim <= 1 and (value > 0).all() for value in floats)
    weights = sum(
        module.weight.numel() for module in bottleneck.network.modules() if hasattr(module, "weight_quantizer")
    )
    weights += 16 * 12 * 6 - 8 * 27  # the stem on four pixels
    stored = sum(np.prod(tensor.dims) for tensor in constants.values() if tensor.data_type == TensorProto.INT8)
    assert weights <= stored <= weights + 16  # and the zero points of the embedding layer's weights


def test_signature(bottleneck: Student) -> None:
    model = ORT_CPU.write(bottleneck)
    (images,), (embeddings,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", TensorProto.UINT8)
    assert [dim.dim_value for dim in images.type.tensor_type.shape.dim][1:] == [28, 28, 3]
    assert (embeddings.name, embeddings.type.tensor_type.elem_type) == ("embeddings", TensorProto.FLOAT)
    assert embeddings.type.tensor_type.shape.dim[1].dim_value == 16
    assert model.opset_import[0].version == 21


def test_learned_zero_points_are_exported(bottleneck: Student) -> None:
    """Zero points away from 0 and, where they are learned, between integers and beyond the grid."""
    student = make_student(randomize(NETWORKS["bottleneck"]()))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in student.network.named_parameters():
            if name.endswith("zero_point") and parameter.requires_grad:
                parameter.add_(torch.randn((), generator=generator) * 9)
    model = ORT_CPU.write(student)
    assert_same_embeddings(run(model, IMAGES, optimized=True), student)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3, 2, 1),
        nn.MaxPool2d(2, 1, 0, dilation=2),
        nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        nn.AvgPool2d(3, 2, 1),
    ],
    ids=str,
)
def test_pools(pool: nn.Module) -> None:
    layers = [
        conv_block(3, 8, 3, 2),
        pool,
        conv_block(8, 16, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 16),
    ]
    student = make_student(randomize(nn.Sequential(*layers), slopes=(0.1,)), activation="leaky")
    model = ORT_CPU.write(student)
    for optimized in (False, True):
        least = 0.999 if optimized else 0.99  # the runtime's integer average rounds otherwise, too
        assert_same_embeddings(run(model, IMAGES, optimized=optimized), student, least)


@pytest.mark.parametrize("bits", [(4, 8), (6, 6), (4, 4), (8, 2), (2, 5)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_other_widths_run_in_integers(name: str, bits: tuple[int, int], tmp_path: Path) -> None:
    student = make_student(
        randomize(NETWORKS[name]()), activation="mixed", weight_bits=bits[0], activation_bits=bits[1]
    )
    model = ORT_CPU.write(student)
    found = run(model, IMAGES, optimized=True)
    exact = (found * embed(IntegerReference(student))).sum(1)
    assert float(exact.min()) >= 0.99999
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    coverage = measure_coverage(tmp_path / "model.onnx", images=IMAGES.numpy(), runs=1)
    assert coverage.multiply_add_fraction == 1.0
    assert coverage.float_islands == coverage.float_products == ()


def test_narrow_grids_end_where_the_quantizer_ends() -> None:
    """Every byte the graph carries lies in 0 .. 2^bits - 1, even where the network saturates."""
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation_bits=3)
    with torch.no_grad():
        for module in student.network.modules():
            if isinstance(module, ActivationQuantizer):
                module.log_scale.sub_(1.5)  # ranges far too small
    model = ORT_CPU.write(student)
    clamped = [node.output[0] for node in model.graph.node if node.op_type == "Min"]
    quantizers = [m for m in student.network.modules() if isinstance(m, ActivationQuantizer)]
    assert len(clamped) >= len(quantizers)
    for name in clamped:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(clamped, {"images": IMAGES.numpy()})
    assert max(int(value.max()) for value in values) == 7
    assert float((run(model, IMAGES, optimized=True) * embed(IntegerReference(student))).sum(1).min()) >= 0.99999


def test_four_bit_weights_are_packed() -> None:
    """INT4 initializers hold the student's integers; layers of more bits stay int8; small biases are int16."""
    student = make_student(randomize(NETWORKS["bottleneck"]()), weight_bits=4)
    model = ORT_CPU.write(student)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {node.output[0]: node for node in model.graph.node}
    layers = dict(student.network.named_modules())
    packed = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm") or not node.name:
            continue
        source = producers.get(producers[node.input[1]].input[0])
        bits = layers[node.name].weight_quantizer.bits
        assert (source is not None) == (bits == 4), node.name
        if source is None:
            continue
        tensor = constants[source.input[0]]
        assert (source.op_type, tensor.data_type) == ("Cast", TensorProto.INT4)
        assert len(tensor.raw_data) == -(-int(np.prod(tensor.dims)) // 2)
        wanted = integer_layer(node.name, layers[node.name], 1.0).weights
        np.testing.assert_array_equal(numpy_helper.to_array(tensor).astype(np.int8), wanted)
        packed += 1
    assert packed >= 5
    assert any(tensor.data_type == TensorProto.INT16 for tensor in constants.values())


def test_biases_beyond_int16_stay_int32() -> None:
    student = make_student(randomize(NETWORKS["convolution-head"]()))
    with torch.no_grad():
        for module in student.network.modules():
            if isinstance(module, QuantizedConv2d | QuantizedLinear):
                module.bias[0] = 50.0
    model = ORT_CPU.write(student)
    stored = [
        numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT32
    ]
    assert stored
    assert all(np.abs(values).max() > 32767 for values in stored)
    assert_same_embeddings(run(model, IMAGES, optimized=True), student)


def test_an_operation_without_an_operator() -> None:
    student = make_student(randomize(nn.Sequential(nn.Conv2d(3, 4, 28), nn.Flatten())))
    (last,) = (node for node, _ in calls(student.network, QuantizedLinear))
    insert_behind(student.network, last, "relu", nn.ReLU())
    with raises_naming(UsageError, "ReLU"):
        ORT_CPU.write(student)


def test_unknown_target() -> None:
    with raises_naming(UsageError, "tpu", "openvino", "ort-cpu", "trt", "trt-rtx"):
        find_target("tpu")
