"""What the doctor says of CPUs, target by target."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from efq.runtime import doctor
from efq.runtime.backends import needs
from efq.runtime.doctor_command import main
from efq.runtime.errors import MissingDependencyError
from efq.runtime.machine.cpu import describe_cpu
from efq.runtime.targets import targets


def cpu_line(target: str) -> str:
    (need,) = [need for need in doctor.examine().target(target).needs if need.what == "CPU"]
    assert need.met
    return need.detail


def test_every_target_has_a_report_and_says_what_the_cpu_means_for_it() -> None:
    assert {report.target for report in doctor.examine().targets} == set(targets())
    assert all(cpu_line(target) for target in targets())


@pytest.mark.parametrize(
    ("target", "saturating", "expected"),
    [
        ("ort-cpu", False, "7 and 8 bits are computed exactly, in the fast kernels"),
        ("ort-cpu", True, "8-bit ones (--full-range) exactly in slower ones"),
        ("openvino", False, "7 and 8 bits are computed exactly, in the fast kernels"),
        ("openvino", True, "8-bit ones (--full-range) refused"),
    ],
)
def test_what_saturating_products_mean(
    monkeypatch: pytest.MonkeyPatch, target: str, saturating: bool, expected: str
) -> None:
    monkeypatch.setattr(needs, "products_saturate", lambda: saturating)
    assert expected in cpu_line(target)
    if target == "openvino":
        pytest.importorskip("openvino")
    result = CliRunner().invoke(main, [target])
    assert result.exit_code == 0, result.output
    assert expected in result.stdout


def test_an_onnxruntime_that_cannot_be_used_is_a_need(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        message = "expected ONNX Runtime 1.30 or newer"
        raise MissingDependencyError(message)

    monkeypatch.setattr(doctor, "import_onnxruntime", refuse)
    monkeypatch.setattr(needs, "import_onnxruntime", refuse)
    monkeypatch.setattr(needs, "products_saturate", refuse)
    result = CliRunner().invoke(main, ["ort-cpu"])
    assert result.exit_code == 4
    assert "expected ONNX Runtime 1.30 or newer" in result.stdout
    assert "ONNX Runtime providers\n  none" in result.stdout


def test_json_has_the_class_of_the_cpu() -> None:
    result = CliRunner().invoke(main, ["--json"])
    assert json.loads(result.stdout)["cpu"]["dot_product_class"] == describe_cpu().dot_product_class
