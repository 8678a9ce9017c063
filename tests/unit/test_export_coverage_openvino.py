"""OpenVINO's executed graph in the coverage report, against networks whose integer kernels are known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from messages import raises_naming
from test_export_coverage import DEPTHWISE, GEMM, POINTWISE, STEM, Network, faces, op_types

from efq.export.coverage.measurement import measure_coverage
from efq.export.coverage.report import CoverageReport
from efq.runtime.errors import CoverageError, IncompatibleArtifactError, InputError

pytest.importorskip("openvino")


def coverage(path: Path, images: np.ndarray | None = None) -> CoverageReport:
    return measure_coverage(path, images=faces() if images is None else images, runs=2, backend="openvino")


def quantized_stem(network: Network) -> str:
    """The stem on an image that passes a quantizer of its own, as efq.export writes it for OpenVINO."""
    levels = network.add("Transpose", "images", perm=[0, 3, 1, 2])
    image = network.quantize(network.dequantize(levels, 1 / 128, np.uint8(128)), 1 / 128, 128)
    x = network.conv(image, (16, 3, 3, 3), stride=2, x_scale=1 / 128)
    return network.quantize(network.add("Relu", x), 0.02, 0)


def test_a_quantized_network_is_integer_everywhere(tmp_path: Path) -> None:
    network = Network()
    path = network.save(
        tmp_path / "model.onnx", network.normalized(network.embedding(network.residual(quantized_stem(network))))
    )
    report = coverage(path)
    assert report.runtime.startswith("openvino ")
    assert (report.convolutions.integer, report.convolutions.total) == (3, 3)
    assert (report.matrix_products.integer, report.matrix_products.total) == (1, 1)
    assert report.multiply_adds.total == STEM + DEPTHWISE + POINTWISE + GEMM
    assert report.multiply_add_fraction == 1.0
    assert report.float_islands == report.float_products == report.conversions == ()
    assert report.epilogue != ()
    assert coverage(path, faces(5)).multiply_adds == report.multiply_adds
    report.check(allow_float=False)


def test_an_image_with_a_zero_point_leaves_a_float_stem_and_the_check_names_it(tmp_path: Path) -> None:
    network = Network()
    path = network.save(tmp_path / "model.onnx", network.embedding(network.residual(network.stem())))
    report = coverage(path)
    assert (report.convolutions.integer, report.convolutions.total) == (2, 3)
    assert report.multiply_adds.total - report.multiply_adds.integer == STEM
    with raises_naming(CoverageError, "openvino", report.float_products[0].name) as caught:
        report.check(allow_float=False)
    assert caught.value.exit_code == 3


def test_a_float_network_has_no_integer_multiply_adds(tmp_path: Path) -> None:
    network = Network()
    kernel = network.constant(np.ones((16, 3, 3, 3), np.float32))
    x = network.add("Cast", network.add("Transpose", "images", perm=[0, 3, 1, 2]), to=1)
    x = network.add("Flatten", network.add("Relu", network.add("Conv", x, kernel, strides=[2, 2], pads=[1] * 4)))
    path = network.save(tmp_path / "m.onnx", network.add("MatMul", x, network.constant(np.ones((256, 32), np.float32))))
    report = coverage(path)
    assert (report.multiply_adds.integer, report.multiply_adds.total) == (0, STEM + GEMM)
    assert {"Conv", "MatMul"} == set(op_types(report, "float_products"))


def test_what_openvino_cannot_take_is_refused(tmp_path: Path) -> None:
    network = Network()
    path = network.save(tmp_path / "model.onnx", network.embedding(network.stem()))
    for images in (faces()[:, :5], faces().astype(np.float32), faces()[:0], faces()[0]):
        with raises_naming(InputError, path, "uint8", list(images.shape)):
            coverage(path, images)
    path.write_bytes(path.read_bytes()[:500])
    with raises_naming(IncompatibleArtifactError, path):
        coverage(path)
