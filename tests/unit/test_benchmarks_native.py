"""The measurements of EFQ's own kernels run, and print what docs/native.md quotes."""

from __future__ import annotations

from pathlib import Path

import pytest
from networks import make_student, randomize, teacher_network

from efq.benchmarks.timing import native_layers, native_start
from efq.export import export_student
from efq.runtime.native.library import instruction_sets, library_path

pytestmark = pytest.mark.skipif(library_path() is None, reason="the kernels were not built: make native")


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("native") / "artifact"
    student = make_student(randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4)), size=112)
    export_student(student, "ort-cpu", folder, bits=8)
    return folder


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (3, 2)])
def test_layers(artifact: Path, batch: int, threads: int, capsys: pytest.CaptureFixture[str]) -> None:
    native_layers.main([str(artifact), "--batch", str(batch), "--threads", str(threads), "--rounds", "2"])
    first, second, *kinds = capsys.readouterr().out.splitlines()
    assert first.split()[0] == "native"
    assert "1.00 x (quartiles 1.00, 1.00)" in first
    assert second.split()[0] == "onnxruntime"
    assert any("depthwise 3x3" in line for line in kinds)


def test_layers_of_instruction_sets(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [instruction_sets()[0], "plain"]
    native_layers.main([str(artifact), "--sets", *sets, "--rounds", "2"])
    first, second, *kinds = capsys.readouterr().out.splitlines()
    assert [first.split()[0], second.split()[0]] == sets
    assert kinds


def test_start(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    native_start.main([str(artifact), "--backends", "native", "--rounds", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line[:16].strip() for line in lines] == ["python, numpy", "and an artifact", "native"]
    milliseconds = [float(line[16:].split()[0]) for line in lines]
    assert milliseconds[0] < milliseconds[-1]
