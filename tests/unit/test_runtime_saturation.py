"""The probe for saturating products, and what the backends do where they saturate."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from artifacts import make_artifact, make_manifest
from messages import raises_naming
from onnx import TensorProto, helper, numpy_helper

from efq.runtime import DeviceError, Embedder
from efq.runtime.backends import onnxruntime as onnxruntime_backend
from efq.runtime.backends import openvino as openvino_backend
from efq.runtime.backends.saturation import LARGEST_WEIGHT, PROBE, TERMS, products_saturate
from efq.runtime.machine.cpu import describe_cpu


def test_the_probe_is_the_model_it_is_said_to_be() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["levels", "weights"], ["sums"])],
        "saturation",
        [helper.make_tensor_value_info("levels", TensorProto.UINT8, [1, TERMS])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 1])],
        [numpy_helper.from_array(np.full((TERMS, 1), LARGEST_WEIGHT, np.int8), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=4)
    model.producer_name = ""
    assert onnx.load_model_from_string(PROBE) == model


def test_a_cpu_with_vnni_does_not_saturate() -> None:
    if not describe_cpu().has_vnni:
        pytest.skip("this CPU does not say that it has VNNI")
    assert not products_saturate()


@pytest.mark.skipif("EFQ_AVX2" not in os.environ, reason="this CPU is not emulated (tests/avx2/run.sh)")
def test_the_emulated_cpu_saturates() -> None:
    assert products_saturate()
    assert not describe_cpu().has_vnni


@pytest.fixture
def saturating(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, str]]:
    """As on a CPU where products saturate; returns the configuration of each session that is made."""
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))  # choices are kept by CPU, and this is another one
    monkeypatch.setattr(onnxruntime_backend, "products_saturate", lambda: True)
    monkeypatch.setattr(openvino_backend, "products_saturate", lambda: True)
    made: list[dict[str, str]] = []

    class Options(onnxruntime.SessionOptions):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            made.append({})

        def add_session_config_entry(self, key: str, value: str) -> None:
            made[-1][key] = value
            super().add_session_config_entry(key, value)

    monkeypatch.setattr(onnxruntime, "SessionOptions", Options)
    return made


def test_onnxruntime_is_exact_where_products_saturate(tmp_path: Path, saturating: list[dict[str, str]]) -> None:
    eight = make_manifest(recipe={})
    Embedder.open(make_artifact(tmp_path / "eight", manifest=eight), threads=1)
    assert saturating[-1]["session.x64quantprecision"] == "1"
    Embedder.open(make_artifact(tmp_path / "seven"), threads=1, backend="onnxruntime")
    assert "session.x64quantprecision" not in saturating[-1]


@pytest.mark.usefixtures("saturating")
def test_openvino_takes_only_seven_bits_where_products_saturate(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    eight = make_artifact(tmp_path / "eight", manifest=make_manifest(target="openvino", recipe={}))
    with raises_naming(DeviceError, "VNNI", "--full-range", "ort-cpu"):
        Embedder.open(eight)
    seven = make_manifest(target="openvino")
    assert Embedder.open(make_artifact(tmp_path / "seven", manifest=seven)).backend == "openvino"
    ort = make_manifest(recipe={})
    assert Embedder.open(make_artifact(tmp_path / "ort", manifest=ort)).backend == "onnxruntime"
