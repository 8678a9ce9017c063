"""Passes over the student's graph before it is written: each alone, and in the orders they require."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from messages import raises_naming
from networks import NETWORKS, make_student, randomize

from efq.export import export_student, find_target, measure_coverage
from efq.export.changes import StudentChanges
from efq.export.engine_settings import EngineSettings
from efq.export.qdq.build import build_qdq_model
from efq.export.qdq.passes.clamp_narrow_grids import CLAMP_NARROW_GRIDS
from efq.export.qdq.passes.four_pixel_stem import FOUR_PIXEL_STEM, SeparateColumns
from efq.export.qdq.passes.fuse_prelus import FUSE_PRELUS
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.passes.late_clamps import LATE_CLAMPS
from efq.export.qdq.passes.quantized_image import QUANTIZED_IMAGE
from efq.export.reduced_range import RangeReduction
from efq.runtime import MissingDependencyError, UsageError
from efq.runtime import targets as rows
from efq.toolchain.graph.traversal import share_modules
from efq.toolchain.student import Student


@pytest.fixture(scope="module")
def student() -> Student:
    """Of 5-bit activations with exact PReLUs."""
    return make_student(randomize(NETWORKS["bottleneck"](), slopes=(0.2, 0.7)), activation_bits=5)


def changed(student: Student, *passes: GraphPass) -> list[int]:
    """What each changed, one after the other, behind the clamps."""
    network = share_modules(student.network)
    CLAMP_NARROW_GRIDS.rewrite(network, student.contract)
    return [each.rewrite(network, student.contract).changed for each in passes]


def test_passes_leave_the_student_as_it_is(student: Student) -> None:
    before = [(node.op, str(node.target)) for node in student.network.graph.nodes]
    passes = (LATE_CLAMPS, FUSE_PRELUS, QUANTIZED_IMAGE)
    build_qdq_model(student, passes=passes, opset=21, ir_version=10)
    build_qdq_model(student, passes=(LATE_CLAMPS, FOUR_PIXEL_STEM), opset=21, ir_version=10)
    assert [(node.op, str(node.target)) for node in student.network.graph.nodes] == before


def test_fusion_needs_late_clamps(student: Student) -> None:
    late, fused = changed(student, LATE_CLAMPS, FUSE_PRELUS)
    assert late >= fused > 0
    assert changed(student, FUSE_PRELUS) == [0]


@pytest.mark.parametrize("first", [QUANTIZED_IMAGE, FUSE_PRELUS])
def test_the_stem_on_four_pixels_comes_before_what_changes_its_neighbours(student: Student, first: GraphPass) -> None:
    assert changed(student, LATE_CLAMPS, FOUR_PIXEL_STEM)[-1] == 1
    assert changed(student, LATE_CLAMPS, first, FOUR_PIXEL_STEM)[-1] == 0
    assert changed(student, FOUR_PIXEL_STEM, QUANTIZED_IMAGE) == [1, 0]


def test_an_operation_of_a_pass_without_its_handler_is_named(student: Student) -> None:
    forgetful = dataclasses.replace(FOUR_PIXEL_STEM, handlers={})
    with raises_naming(UsageError, "FourPixelImage"):
        build_qdq_model(student, passes=(forgetful,), opset=21, ir_version=10)
    assert SeparateColumns in FOUR_PIXEL_STEM.handlers


def test_changes_are_told_in_the_recipe_of_a_manifest() -> None:
    reduction = RangeReduction(layers=3, least_cosine=0.98, mean_cosine=0.99)
    assert StudentChanges().to_recipe() == {}
    assert StudentChanges(reduced_range=False).to_recipe() == {"reduced_range": False}
    told = StudentChanges(reduced_range=True, requantized=reduction)
    assert told.to_recipe() == {"reduced_range": True, "requantized": reduction.to_dict()}
    assert told.notes == (str(reduction),)


@pytest.mark.parametrize(
    "exporter",
    [
        *("no_such_package:TARGET", "efq.export.targets.ort_cpu.target:MISSING", "json:loads", ":TARGET", ""),
        ".x:TARGET",
        "efq.export.targets.openvino.target:TARGET",  # of another name
    ],
)
def test_an_export_side_that_is_not_there_is_named(exporter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    row = dataclasses.replace(rows.find_target("ort-cpu"), exporter=exporter)
    monkeypatch.setattr(rows, "_BUILT_IN", {"ort-cpu": row})
    with raises_naming(MissingDependencyError, "ort-cpu"):
        find_target("ort-cpu")


def test_what_does_not_go_with_a_target_is_refused(student: Student, tmp_path: Path) -> None:
    with raises_naming(UsageError, "ort-cpu"):
        export_student(student, "ort-cpu", tmp_path / "a", bits=8, engine=EngineSettings())
    without_row = dataclasses.replace(find_target("ort-cpu"), name="mine")
    with raises_naming(UsageError, "mine"):
        export_student(student, without_row, tmp_path / "a", bits=8)
    assert not (tmp_path / "a").exists()
    with raises_naming(UsageError, "tensorflow", "onnxruntime"):
        measure_coverage(tmp_path / "model.onnx", images=np.zeros((1, 28, 28, 3), np.uint8), backend="tensorflow")
