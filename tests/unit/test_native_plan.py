"""Plans of EFQ's own kernels: what is compiled from an artifact's graph is the integer reference, byte for byte."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from messages import raises_naming
from networks import NETWORKS, make_student, random_images, randomize
from numpy.typing import NDArray

from efq.export import find_target
from efq.export.references.integer import IntegerReference
from efq.runtime.artifact.onnx_model import read_onnx_model
from efq.runtime.native.compile import compile_plan
from efq.runtime.native.fusion import Layer, fuse
from efq.runtime.native.plain import run_plain
from efq.runtime.native.refusal import UnsupportedNodeError
from efq.runtime.native.steps import Convolution, Maximum, Plan, Sum
from efq.toolchain.data import open_faces
from efq.toolchain.lowering import lower
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student
from efq.toolchain.teachers import open_teacher

IMAGES = random_images(6, seed=11)


def plan_of(student: Student) -> Plan:
    return compile_plan(read_onnx_model(find_target("ort-cpu").write(student).SerializeToString()))


def unit(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of length 1, as a plan's last step says."""
    squares = np.cumsum(raw.astype(np.float64) ** 2, axis=1)[:, -1:]
    return np.asarray(raw / np.sqrt(squares), np.float32)


@pytest.mark.parametrize("activation", ["relu", "leaky", "prelu", "mixed"])
@pytest.mark.parametrize("name", NETWORKS)
def test_embeddings_are_those_of_the_integer_reference(name: str, activation: str) -> None:
    student = make_student(randomize(NETWORKS[name]()), activation=activation)
    wanted = unit(IntegerReference(student)(IMAGES).numpy())
    np.testing.assert_array_equal(run_plain(plan_of(student), IMAGES.numpy()), wanted)


@pytest.mark.parametrize("bits", [{"weight_bits": 4}, {"weight_bits": 6, "activation_bits": 6}, {"full_range": True}])
def test_grids_of_other_bits(bits: dict[str, object]) -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu", **bits)
    wanted = unit(IntegerReference(student)(IMAGES).numpy())
    np.testing.assert_array_equal(run_plain(plan_of(student), IMAGES.numpy()), wanted)


def test_every_multiply_add_of_the_network_is_in_the_plan() -> None:
    plan = plan_of(make_student(randomize(NETWORKS["convolution-head"]()), activation="relu"))
    stem, whole, embedding = 8 * 7 * 7 * 3 * 9, 8 * 7 * 7, 8 * 16
    assert plan.multiply_adds == stem + whole + embedding


def test_a_convolution_takes_in_its_prelu_its_clamp_and_its_sum() -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu", activation_bits=6)
    plan = plan_of(student)
    fused = fuse(plan)
    assert {Sum, Maximum, Convolution} <= set(map(type, plan.steps))
    layers = [step for step in fused.steps if isinstance(step, Layer)]
    assert len(layers) == len(fused.steps) - 1, "all but the embedding"
    assert sum(layer.slopes is not None for layer in layers) == 6
    assert sum(layer.sum is not None for layer in layers) == 1
    stem = layers[0].convolution
    assert (stem.weights.shape, stem.window.strides) == ((8, 3, 9, 1), (2, 6)), "pixels one by one"


def test_plans_are_not_changed_by_fusing() -> None:
    plan = plan_of(make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu"))
    before = run_plain(plan, IMAGES.numpy())
    fuse(plan)
    np.testing.assert_array_equal(run_plain(plan, IMAGES.numpy()), before)


def test_another_targets_graph_is_refused_by_its_node() -> None:
    student = make_student(randomize(NETWORKS["bottleneck"]()), activation="prelu")
    model = read_onnx_model(find_target("openvino").write(student).SerializeToString())
    with raises_naming(UnsupportedNodeError, "PRelu"):
        compile_plan(model)


@pytest.mark.faces
@pytest.mark.slow
@pytest.mark.parametrize("activation", ["prelu", "relu"])
def test_of_the_mobilefacenet_on_faces(faces_root: Path, activation: str) -> None:
    faces = open_faces(faces_root, listing=faces_root / "splits" / "dev.txt", max_images=32)
    teacher = open_teacher(faces_root / "weights" / "mobilefacenet_y1.pt")
    recipe, images = Recipe(name="t", activation=activation), np.array(faces.images)
    mean, std = teacher.normalization.mean, teacher.normalization.std
    network, report = lower(teacher.network, recipe, torch.from_numpy(images[:24]), mean=mean, std=std)
    describe = functools.partial(Student, network=network, backbone=teacher.name, recipe=recipe.to_dict())
    student = describe(
        contract=teacher.contract, embedding_size=128, teacher={}, data={}, activations=report.activations, notes=(),
        training={}, thresholds={}, training_hashes=(),
    )  # fmt: skip
    wanted = unit(IntegerReference(student)(torch.from_numpy(images)).numpy())
    np.testing.assert_array_equal(run_plain(plan_of(student), images), wanted)
