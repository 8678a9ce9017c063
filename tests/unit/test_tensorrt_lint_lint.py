"""Reading models, targets, capabilities, and the error that lists what must be changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from messages import names, raises_naming
from networks import NETWORKS, make_student, randomize
from onnx import TensorProto, helper
from tensorrt_graphs import GraphBuilder, exported
from tensorrt_patterns import placement, types, weights

from efq.export.targets import find_target
from efq.export.targets.tensorrt.lint import Finding, Severity, check, lint
from efq.export.targets.tensorrt.target import TRT
from efq.runtime import InputError, LintError, UsageError


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]


def test_check_returns_what_only_costs_speed() -> None:
    (finding,) = check(placement.two_quantizers())
    assert (finding.rule, finding.severity) == ("quantized-twice", Severity.SLOW)


def test_check_lists_every_finding_that_blocks() -> None:
    build = GraphBuilder()
    value = build.qdq(build.qdq("x", "data", -0.1), "again", 0.2)
    value = build.conv(value, weight=build.weight(axis=1))
    with pytest.raises(LintError) as raised:
        check(build.model(value))
    assert raised.value.exit_code == 3
    names(raised.value, 3, "data.quantize", "data.dequantize", "scale-not-positive", "weight-axis", "axis 1")
    assert "quantized-twice" not in str(raised.value)


def test_model_from_a_path_is_the_model(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    model = weights.axis_of_convolution()
    onnx.save(model, path)
    assert lint(path) == lint(model) != ()


def test_linting_changes_nothing() -> None:
    model = exported()
    before = model.SerializeToString(deterministic=True)
    lint(model)
    assert model.SerializeToString(deterministic=True) == before


def save_outside(path: Path) -> None:
    build = GraphBuilder()
    model = build.model(build.conv(build.qdq("x", "data"), weight=build.weight(axis=1)))
    onnx.save(model, path, save_as_external_data=True, location="model.data", size_threshold=0)


def test_tensors_beside_the_model_are_read(tmp_path: Path) -> None:
    save_outside(tmp_path / "model.onnx")
    assert rules(lint(tmp_path / "model.onnx")) == ["weight-axis"]


@pytest.mark.parametrize("keep", [None, 10])
def test_tensors_missing_beside_the_model(tmp_path: Path, keep: int | None) -> None:
    save_outside(tmp_path / "model.onnx")
    stored = tmp_path / "model.data"
    if keep is None:
        stored.unlink()
    else:
        stored.write_bytes(stored.read_bytes()[:keep])
    findings = lint(tmp_path / "model.onnx")
    assert set(rules(findings)) == {"external-data"}
    for finding in findings:
        names(finding.found, "model.data")


def test_tensors_outside_a_model_in_memory(tmp_path: Path) -> None:
    save_outside(tmp_path / "model.onnx")
    findings = lint(onnx.load(tmp_path / "model.onnx", load_external_data=False))
    assert set(rules(findings)) == {"external-data"}
    for finding in findings:
        names(finding.found, "model.data")


@pytest.mark.parametrize("content", [None, b"", b"no model", b"\xff" * 100])
def test_what_is_no_model_is_an_input_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with raises_naming(InputError, path, "ONNX"):
        lint(path)


def test_a_graph_that_onnx_cannot_read_is_an_input_error() -> None:
    model = exported()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_type = 99
    with raises_naming(InputError, "ONNX"):
        lint(model)


def test_another_target_is_a_usage_error() -> None:
    with raises_naming(UsageError, "trt", "trt-rtx", "ort-cpu"):
        lint(exported(), target="ort-cpu")


def test_a_malformed_capability_is_a_usage_error() -> None:
    with raises_naming(UsageError, "8.6", "86"):
        lint(exported(), compute_capabilities=["86"])


def test_full_tensorrt_runs_transposed_convolutions_in_int8() -> None:
    assert rules(lint(weights.transposed_convolution(), target="trt")) == []


def test_types_by_compute_capability() -> None:
    model = types.float8()
    assert rules(lint(model, compute_capabilities=["8.9", "12.0"])) == []
    assert set(rules(lint(model, compute_capabilities=["8.6", "8.9"]))) == {"quantized-type-needs-newer-gpu"}
    assert set(rules(lint(model))) == {"quantized-type-needs-newer-gpu"}
    assert rules(lint(model, target="trt")) == []  # built for the GPU it is on, which is not known here


@pytest.mark.parametrize("activation", ["prelu", "relu", "leaky"])
@pytest.mark.parametrize("name", NETWORKS)
def test_students_written_for_tensorrt_are_only_narrow(name: str, activation: str) -> None:
    student = make_student(randomize(NETWORKS[name]()), activation=activation, symmetric_activations=True)
    findings = check(TRT.write(student))
    assert set(rules(findings)) <= {"narrow-operator"}  # these networks have 8 channels


def test_the_graph_for_cpus_is_refused_for_what_only_cpus_take() -> None:
    model = find_target("ort-cpu").write(make_student(randomize(NETWORKS["bottleneck"]())))
    assert {"zero-point-not-zero", "unsigned-activation", "unsigned-tensor", "int32-bias"} <= set(rules(lint(model)))


def test_a_finding_says_where_float_data_comes_from() -> None:
    model = weights.batchnorm_behind_dequantize()
    (batchnorm,) = (node for node in model.graph.node if node.op_type == "BatchNormalization")
    (finding,) = lint(model)
    names(finding.found, batchnorm.op_type, batchnorm.name, "float16")
    (finding,) = lint(weights.concat_of_two_scales())
    names(finding.found, "Concat", "scale")


def test_a_node_without_a_name_is_named_by_its_output() -> None:
    build = GraphBuilder()
    model = build.model(build.conv(build.qdq("x", "data"), weight=build.floats((16, 16, 3, 3))))
    model.graph.node[-1].name = ""
    (finding,) = lint(model)
    assert finding.node == "Conv of conv.out"


def test_local_functions_are_looked_into() -> None:
    build = GraphBuilder()
    model = build.model(build.add("Block", build.qdq("x", "data"), build.floats((16, 16, 3, 3)), domain="local"))
    body = [helper.make_node("Conv", ["value", "weight"], ["result"], name="inner")]
    opsets = [helper.make_opsetid("", 21)]
    model.functions.append(helper.make_function("local", "Block", ["value", "weight"], ["result"], body, opsets))
    assert rules(lint(model)) == ["activation-only-operator"]


def test_a_scale_that_cannot_be_folded_is_not_constant() -> None:
    build = GraphBuilder()
    scale = build.constant(np.full(4, 0.05, np.float16))
    wrong = build.add("Reshape", scale, build.constant(np.array([3], np.int64)))
    model = build.model(build.conv(build.qdq("x", "data", wrong)))
    assert rules(lint(model)) == ["scale-not-constant", "scale-not-constant"]


def test_a_graph_without_quantizers_has_no_finding() -> None:
    build = GraphBuilder(dtype=np.float32)
    value = build.add("Relu", build.conv("x", weight=build.floats((16, 16, 3, 3))))
    assert lint(build.model(build.add("Cast", value, to=TensorProto.FLOAT16))) == ()
