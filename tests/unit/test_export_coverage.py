"""The integer coverage report against small networks whose integer kernels and multiply-adds are known by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from messages import names, raises_naming
from onnx import TensorProto, helper, numpy_helper

from efq.export.coverage.count import weighted_nodes
from efq.export.coverage.measurement import measure_coverage
from efq.export.coverage.report import CoverageReport
from efq.export.targets.ort_cpu.evidence import collect_evidence
from efq.runtime.errors import CoverageError, IncompatibleArtifactError, InputError

SIZE = 8
STEM = 4 * 4 * 16 * 3 * 3 * 3  # 3x3, stride 2, 3 -> 16 channels: 4x4 outputs
DEPTHWISE = 4 * 4 * 16 * 3 * 3
POINTWISE = 4 * 4 * 16 * 16
GEMM = 32 * 16 * 4 * 4


class Network:
    """A Q/DQ network in the making: uint8 (N, 8, 8, 3) images in, float32 (N, 32) embeddings out."""

    def __init__(self, *, activations: type[np.generic] = np.uint8, float_bias: bool = False, relu_point: int = 0):
        self.activations, self.float_bias, self.relu_point = activations, float_bias, relu_point
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(0)

    def constant(self, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"constant_{len(self.constants)}"))
        return str(self.constants[-1].name)

    def add(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = f"{op_type}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, list(inputs), [name], name=name, **attributes))
        return name

    def dequantize(self, x: str, scale: float, zero_point: Any) -> str:
        return self.add("DequantizeLinear", x, self.constant(np.float32(scale)), self.constant(zero_point))

    def quantize(self, x: str, scale: float, zero_point: int) -> str:
        point = self.activations(zero_point)
        levels = self.add("QuantizeLinear", x, self.constant(np.float32(scale)), self.constant(point))
        return self.dequantize(levels, scale, point)

    def parameters(self, shape: tuple[int, ...], x_scale: float) -> tuple[str, str]:
        """int8 weights per channel, axis 0, and their int32 bias of scale x_scale * w_scale (or a float one)."""
        scales = self.random.uniform(0.01, 0.02, shape[0]).astype(np.float32)
        weight = self.constant(self.random.integers(-127, 128, shape).astype(np.int8))
        zero = np.zeros(shape[0], np.int8)
        weight = self.add("DequantizeLinear", weight, self.constant(scales), self.constant(zero), axis=0)
        if self.float_bias:
            return weight, self.constant(self.random.normal(size=shape[0]).astype(np.float32))
        bias = self.constant(self.random.integers(-500, 500, shape[0]).astype(np.int32))
        return weight, self.add("DequantizeLinear", bias, self.constant(scales * np.float32(x_scale)), axis=0)

    def conv(self, x: str, shape: tuple[int, ...], *, stride: int = 1, groups: int = 1, x_scale: float = 0.02) -> str:
        weight, bias = self.parameters(shape, x_scale)
        return self.add("Conv", x, weight, bias, strides=[stride] * 2, pads=[shape[2] // 2] * 4, group=groups)

    def stem(self) -> str:
        levels = self.add("Transpose", "images", perm=[0, 3, 1, 2])
        x = self.conv(self.dequantize(levels, 1 / 128, np.uint8(128)), (16, 3, 3, 3), stride=2, x_scale=1 / 128)
        return self.quantize(self.add("Relu", x), 0.02, self.relu_point)

    def residual(self, x: str) -> str:
        y = self.quantize(self.conv(x, (16, 1, 3, 3), groups=16), 0.02, 0 if self.activations is np.int8 else 128)
        y = self.quantize(self.conv(y, (16, 16, 1, 1)), 0.02, 0 if self.activations is np.int8 else 128)
        return self.quantize(self.add("Add", x, y), 0.02, 0 if self.activations is np.int8 else 128)

    def embedding(self, x: str) -> str:
        weight, bias = self.parameters((32, 256), 0.02)
        flat = self.quantize(self.add("Flatten", x), 0.02, 0 if self.activations is np.int8 else 128)
        return self.add("Gemm", flat, weight, bias, transB=1)

    def normalized(self, x: str) -> str:
        norm = self.add("ReduceL2", x, self.constant(np.array([1], np.int64)), keepdims=1)
        return self.add("Div", x, norm)

    def save(self, path: Path, output: str, *, batch: int | str = "N") -> Path:
        images = helper.make_tensor_value_info("images", TensorProto.UINT8, [batch, SIZE, SIZE, 3])
        embeddings = helper.make_tensor_value_info(output, TensorProto.FLOAT, [batch, 32])
        graph = helper.make_graph(self.nodes, "network", [images], [embeddings], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def faces(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIZE, SIZE, 3)).astype(np.uint8)


def whole_network(path: Path, **options: Any) -> Path:
    network = Network(**options)
    return network.save(path, network.normalized(network.embedding(network.residual(network.stem()))))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def op_types(report: CoverageReport, kind: str) -> list[str]:
    return [node.op_type for node in getattr(report, kind)]


def test_a_fully_quantized_network_is_integer_everywhere_but_in_its_epilogue(path: Path) -> None:
    report = measure_coverage(whole_network(path), images=faces())
    assert (report.convolutions.integer, report.convolutions.total) == (3, 3)
    assert (report.matrix_products.integer, report.matrix_products.total) == (1, 1)
    assert report.multiply_adds.total == STEM + DEPTHWISE + POINTWISE + GEMM
    assert report.multiply_add_fraction == report.convolution_fraction == report.matrix_product_fraction == 1.0
    assert report.float_islands == report.float_products == report.conversions == ()
    assert op_types(report, "epilogue") == ["ReduceL2", "Div"]
    assert sum(share.time_share for share in report.op_types) == pytest.approx(1.0)
    report.check(allow_float=False)


def test_multiply_adds_are_those_of_one_image_whatever_the_batch(path: Path) -> None:
    whole_network(path)
    one, five = (measure_coverage(path, images=faces(count), runs=1) for count in (1, 5))
    assert one.multiply_adds == five.multiply_adds
    assert (one.images, five.images) == (1, 5)


def test_a_prelu_is_a_named_float_island_between_integer_kernels(path: Path) -> None:
    network = Network()
    slopes = network.constant(np.full((16, 1, 1), 0.2, np.float32))
    x = network.quantize(network.conv(network.stem(), (16, 16, 1, 1)), 0.02, 128)
    x = network.quantize(network.add("PRelu", x, slopes), 0.02, 100)
    network.save(path, network.embedding(network.quantize(network.conv(x, (16, 16, 1, 1)), 0.02, 128)))
    report = measure_coverage(path, images=faces())
    (island,) = report.float_islands
    assert (island.op_type, island.elements) == ("PRelu", 16 * 4 * 4)
    assert island.time_share > 0
    assert op_types(report, "conversions") == ["DequantizeLinear", "QuantizeLinear"]
    assert report.multiply_add_fraction == 1.0
    assert island.name in str(report)


def test_signed_activations_with_zero_point_zero_leave_float_convolutions(path: Path) -> None:
    report = measure_coverage(whole_network(path, activations=np.int8), images=faces())
    assert report.convolutions.integer < report.convolutions.total == 3
    assert report.multiply_adds.total == STEM + DEPTHWISE + POINTWISE + GEMM
    assert report.multiply_adds.integer <= report.multiply_adds.total - STEM
    assert {"Conv", "FusedConv"}.issuperset(op_types(report, "float_products"))
    assert set(report.float_products) < set(report.float_islands)


def test_a_float_bias_leaves_a_float_gemm_and_the_check_names_it(path: Path) -> None:
    report = measure_coverage(whole_network(path, float_bias=True), images=faces())
    assert report.matrix_product_fraction == 0
    assert report.multiply_adds.total - report.multiply_adds.integer == GEMM
    float_products = [node.name for node in report.float_products]
    assert float_products
    with raises_naming(CoverageError, *float_products, "13,312", "21,504", "--allow-float") as caught:
        report.check(allow_float=False)
    assert caught.value.exit_code == 3
    report.check(allow_float=True)


def test_the_gemm_without_a_quantizer_of_its_own_is_float(path: Path) -> None:
    network = Network()
    weight, bias = network.parameters((32, 256), 0.02)
    flat = network.add("Flatten", network.stem())
    network.save(path, network.add("Gemm", flat, weight, bias, transB=1))
    report = measure_coverage(path, images=faces())
    assert (report.multiply_adds.integer, report.multiply_adds.total) == (STEM, STEM + GEMM)
    assert op_types(report, "float_products") == ["Gemm"]
    assert op_types(report, "float_islands") == ["Flatten", "Gemm"]


def test_a_float_network_has_no_integer_multiply_adds(path: Path) -> None:
    network = Network()
    kernel = network.constant(np.ones((16, 3, 3, 3), np.float32))
    x = network.add("Cast", network.add("Transpose", "images", perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)
    x = network.add("Flatten", network.add("Relu", network.add("Conv", x, kernel, strides=[2, 2], pads=[1] * 4)))
    network.save(path, network.add("MatMul", x, network.constant(np.ones((256, 32), np.float32))))
    report = measure_coverage(path, images=faces())
    assert (report.multiply_adds.integer, report.multiply_adds.total) == (0, STEM + GEMM)
    assert (report.convolutions.total, report.matrix_products.total) == (1, 1)


def test_a_dynamically_quantized_product_reads_float_activations_and_counts_as_float(path: Path) -> None:
    network = Network()
    x = network.add("Cast", network.add("Flatten", "images"), to=TensorProto.FLOAT)
    levels = network.constant(network.random.integers(-127, 128, (192, 32)).astype(np.int8))
    scale = network.constant(np.float32(0.01))
    network.nodes.append(helper.make_node("DynamicQuantizeMatMul", [x, levels, scale], ["y"], domain="com.microsoft"))
    graph = helper.make_graph(
        network.nodes,
        "network",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 32])],
        network.constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    report = measure_coverage(path, images=faces())
    assert (report.multiply_adds.integer, report.multiply_adds.total) == (0, 192 * 32)
    assert op_types(report, "float_products") == ["DynamicQuantizeMatMul"]


def test_nodes_without_names_or_with_the_same_name_are_told_apart(path: Path) -> None:
    whole_network(path)
    model = onnx.load(path)
    for index, node in enumerate(model.graph.node):
        node.name = "" if index % 2 else "same"
    onnx.save(model, path)
    report = measure_coverage(path, images=faces())
    assert report.multiply_adds.total == STEM + DEPTHWISE + POINTWISE + GEMM
    assert report.multiply_add_fraction == 1.0


def test_the_graph_and_the_profile_name_the_same_products(path: Path) -> None:
    evidence = collect_evidence(whole_network(path), images=faces(), runs=2)
    products = weighted_nodes(evidence)
    assert [product.node.op_type for product in products] == ["QLinearConv"] * 3 + ["QGemm"]
    assert [product.multiply_adds for product in products] == [2 * n for n in (STEM, DEPTHWISE, POINTWISE, GEMM)]
    assert all(product.node.microseconds > 0 for product in products)


def test_the_report_is_plain_json_and_text(path: Path) -> None:
    report = measure_coverage(whole_network(path), images=faces())
    values = json.loads(json.dumps(report.to_dict()))
    assert values["multiply_adds"] == {"integer": report.multiply_adds.total, "total": 21504, "fraction": 1.0}
    assert [node["op_type"] for node in values["epilogue"]] == ["ReduceL2", "Div"]
    names(report, "multiply-adds", "21,504", "100 %", "float islands")


@pytest.mark.parametrize("images", [faces(0), faces()[:, :, :4], faces().astype(np.float32), faces()[0]])
def test_images_that_do_not_fit_the_model_are_refused(path: Path, images: np.ndarray) -> None:
    whole_network(path)
    with raises_naming(InputError, path, "uint8", list(images.shape)):
        measure_coverage(path, images=images)


def test_a_truncated_model_is_refused(path: Path) -> None:
    whole_network(path)
    path.write_bytes(path.read_bytes()[:-300])
    with raises_naming(IncompatibleArtifactError, path):
        measure_coverage(path, images=faces())


def test_a_network_without_products_is_not_one_hundred_percent(path: Path) -> None:
    network = Network()
    x = network.add("Cast", network.add("Flatten", "images"), to=TensorProto.FLOAT)
    network.save(path, network.add("Slice", x, *(network.constant(np.array([n], np.int64)) for n in (0, 32, 1))))
    with raises_naming(CoverageError, "convolutions", "matrix products"):
        measure_coverage(path, images=faces())
