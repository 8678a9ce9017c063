"""What the doctor says of CPUs, target by target."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from messages import names

from efq.runtime import doctor
from efq.runtime.backends import needs
from efq.runtime.doctor_command import main
from efq.runtime.errors import MissingDependencyError
from efq.runtime.faces.formats import compiled_walks
from efq.runtime.machine.cpu import describe_cpu
from efq.runtime.native.library import instruction_sets, library_path
from efq.runtime.targets import targets


def cpu_line(target: str) -> str:
    (need,) = [need for need in doctor.examine().target(target).needs if need.what == "CPU"]
    assert need.met
    return need.detail


def test_every_target_has_a_report_and_says_what_the_cpu_means_for_it() -> None:
    assert {report.target for report in doctor.examine().targets} == set(targets())
    assert all(cpu_line(target) for target in targets())


@pytest.mark.parametrize(
    ("target", "saturating", "facts"),
    [
        ("ort-cpu", False, ("7", "8")),
        ("ort-cpu", True, ("7-bit", "8-bit", "--full-range", "slower")),
        ("openvino", False, ("7", "8")),
        ("openvino", True, ("7-bit", "8-bit", "--full-range", "refused")),
    ],
)
def test_what_saturating_products_mean(
    monkeypatch: pytest.MonkeyPatch, target: str, saturating: bool, facts: tuple[str, ...]
) -> None:
    monkeypatch.setattr(needs, "products_saturate", lambda: saturating)
    line = cpu_line(target)
    names(line, describe_cpu().dot_product_class, *facts)
    assert ("--full-range" in line) == saturating
    if target == "openvino":
        pytest.importorskip("openvino")
    result = CliRunner().invoke(main, [target])
    assert result.exit_code == 0, result.output
    names(result.stdout, line)


def test_an_onnxruntime_that_cannot_be_used_is_a_need(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "no ONNX Runtime of this kind"

    def refuse() -> None:
        raise MissingDependencyError(reason)

    monkeypatch.setattr(doctor, "import_onnxruntime", refuse)
    monkeypatch.setattr(needs, "import_onnxruntime", refuse)
    monkeypatch.setattr(needs, "products_saturate", refuse)
    result = CliRunner().invoke(main, ["ort-cpu"])
    assert result.exit_code == 4
    names(result.stdout, "onnxruntime", reason)
    assert json.loads(CliRunner().invoke(main, ["--json"]).stdout)["providers"] == []


def test_json_has_the_class_of_the_cpu() -> None:
    result = CliRunner().invoke(main, ["--json"])
    assert json.loads(result.stdout)["cpu"]["dot_product_class"] == describe_cpu().dot_product_class


def test_the_instruction_sets_of_efqs_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    if library_path() is not None:
        kernels = doctor.examine().kernels
        assert kernels[-1] == "plain", "what runs on every CPU"
        assert set(kernels) <= set(instruction_sets())
        names(CliRunner().invoke(main, []).stdout, ", ".join(kernels))
    reason = "not built"

    def refuse() -> None:
        raise MissingDependencyError(reason)

    monkeypatch.setattr(doctor, "instruction_sets", refuse)
    assert doctor.examine().kernels == ()
    names(CliRunner().invoke(main, []).stdout, "not built")


def test_whether_jpegs_are_checked_in_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines() -> list[str]:
        return CliRunner().invoke(main, []).stdout.splitlines()

    built = compiled_walks.library_path() is not None
    assert doctor.examine().jpeg_walk == built
    assert json.loads(CliRunner().invoke(main, ["--json"]).stdout)["jpeg_walk"] == built
    (found,) = [line for before, line in itertools.pairwise(lines()) if before == "the check of JPEGs"]
    names(found, "C++" if built else "not built")
    broken = tmp_path / "scan_walks.so"
    broken.write_bytes(b"no library")
    for path in (None, broken):
        monkeypatch.setattr(compiled_walks, "library_path", lambda path=path: path)
        monkeypatch.setattr(compiled_walks, "load_library", compiled_walks.load_library.__wrapped__)
        assert not doctor.examine().jpeg_walk
        names("\n".join(lines()), "in Python", "compiler")
        monkeypatch.undo()
