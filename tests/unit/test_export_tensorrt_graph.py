"""The ONNX graph for TensorRT: its pattern, and its numbers against torch and ONNX's reference evaluator."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from efq.export.qdq.weights import symmetric_layer
from efq.export.references.float16 import Float16Reference
from efq.export.targets import find_target
from efq.export.targets.tensorrt.layer_parity import CHANCE, LayerParity, layer_parity
from efq.export.targets.tensorrt.symmetric_student import symmetric_form
from efq.runtime.errors import ParityError, UsageError
from efq.toolchain.graph.operations import QuantizedLinear
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.student import Student

IMAGES = random_images(8, seed=3).numpy()
TRT = find_target("trt")


def symmetric(name: str, **recipe: object) -> Student:
    options = {"symmetric_activations": True} | recipe
    return symmetric_form(make_student(randomize(NETWORKS[name]()), **options), IMAGES)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_pattern(name: str) -> None:
    """Every product reads DequantizeLinear on both sides, int8 with zero point 0; all scales and biases are float16."""
    model = TRT.write(symmetric(name))
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    made_by = {output: node for node in model.graph.node for output in node.output}
    assert model.opset_import[0].version == 19
    products = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert products
    for node in products:
        assert [made_by[value].op_type for value in node.input[:2]] == ["DequantizeLinear"] * 2
        weights, scales, zeros = (constants[value] for value in made_by[node.input[1]].input)
        assert (weights.data_type, scales.data_type) == (TensorProto.INT8, TensorProto.FLOAT16)
        assert scales.dims == [weights.dims[0]]
        assert not numpy_helper.to_array(zeros).any()
        assert constants[node.input[2]].data_type == TensorProto.FLOAT16
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            scale, zero_point = (constants[value] for value in node.input[1:])
            assert (list(scale.dims), scale.data_type) == ([], TensorProto.FLOAT16)
            assert (zero_point.data_type, int(numpy_helper.to_array(zero_point))) == (TensorProto.INT8, 0)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("activation", ["prelu", "relu", "leaky"])
def test_layer_for_layer_it_is_the_student(name: str, activation: str) -> None:
    student = symmetric(name, activation=activation)
    parity = layer_parity(student, TRT.write(student), IMAGES)
    parity.check()
    assert parity.values > 1000
    assert parity.least_cosine_of_layers > 0.99999
    assert parity.least_cosine > 0.99


@pytest.mark.parametrize("name", ["bottleneck", "pooling"])
def test_requantized_students_too(name: str) -> None:
    form, _ = symmetric_form(make_student(randomize(NETWORKS[name]())), IMAGES)
    layer_parity(form, TRT.write(form), IMAGES).check()


@pytest.mark.parametrize(
    ("values", "differing", "passes"),
    [(50_000, CHANCE, True), (50_000, CHANCE + 1, False), (1_000_000, 10, True), (1_000_000, 11, False)],
)
def test_a_few_values_may_differ_by_chance(values: int, differing: int, passes: bool) -> None:
    cosines = {"least_cosine_of_layers": 1.0, "least_cosine": 1.0, "mean_cosine": 1.0}
    parity = LayerParity(images=8, values=values, differing_share=differing / values, largest_difference=1, **cosines)
    if passes:
        parity.check()
        return
    with pytest.raises(ParityError):
        parity.check()


def test_onnx_reference_evaluator_agrees() -> None:
    """Operator for operator in NumPy float16: the semantics ONNX's specification gives the graph."""
    student = symmetric("bottleneck")
    found = ReferenceEvaluator(TRT.write(student)).run(None, {"images": IMAGES[:2]})[0]
    wanted = torch.nn.functional.normalize(Float16Reference(student)(torch.from_numpy(IMAGES[:2])), dim=1).numpy()
    assert float((found * wanted).sum(1).min()) > 0.99


def test_a_wrong_graph_is_noticed() -> None:
    student = symmetric("bottleneck")
    model = TRT.write(student)
    weights = next(t for t in model.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) == 4)
    array = numpy_helper.to_array(weights).copy()
    array[0] = -array[0]
    weights.CopyFrom(numpy_helper.from_array(array, weights.name))
    parity = layer_parity(student, model, IMAGES)
    with raises_naming(ParityError, f"{parity.differing_share:.4%}", f"{parity.least_cosine_of_layers:.6f}"):
        parity.check()


def test_students_of_another_form_are_refused() -> None:
    with raises_naming(UsageError, "stem.2"):
        TRT.write(make_student(randomize(NETWORKS["bottleneck"]()), activation="relu"))


def test_fewer_bits_are_values_on_their_grid_in_int8() -> None:
    model = TRT.write(symmetric("bottleneck", weight_bits=4, edge_weight_bits=8))
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == TensorProto.INT8 and t.dims]
    inner = np.concatenate([w.ravel() for w in weights if w.ndim == 4][1:])
    assert (inner.min(), inner.max()) == (-8, 7)
    onnx.checker.check_model(model, full_check=True)


def test_a_layer_by_hand() -> None:
    """Scales are float16 with 2^-14 as the least; halves to even, saturation at 127."""
    layer = QuantizedLinear(2, 2)
    layer.weight_quantizer = WeightQuantizer(2, 8)
    with torch.no_grad():
        layer.weight_quantizer.log_scale.copy_(torch.tensor([0.5, 1e-8]).log())
        layer.weight.copy_(torch.tensor([[0.25, 100.0], [2.0**-14, 3e-8]]))
        layer.bias.copy_(torch.tensor([1.0, -0.3]))
    found = symmetric_layer("fc", layer)
    assert found.weights.tolist() == [[0, 127], [1, 0]]
    assert found.scales.tolist() == [0.5, 2.0**-14]
    assert found.bias.tolist() == [1.0, float(np.float16(-0.3))]
    with torch.no_grad():
        layer.bias.fill_(1e6)
    with raises_naming(UsageError, "fc", "1e+06"):
        symmetric_layer("fc", layer)
