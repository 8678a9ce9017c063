"""Weights of 7 bits: which students are changed for which target, what that costs, and that products then fit."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
import torch
from messages import names, raises_naming
from networks import NETWORKS, make_student, random_images, randomize
from onnx import numpy_helper

from efq.export.engine_settings import EngineSettings
from efq.export.reduced_range import RangeReduction, weights_for
from efq.export.targets import find_target
from efq.export.targets.target import ExportOptions
from efq.runtime import UsageError
from efq.runtime.targets import targets
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student

IMAGES = random_images(8, seed=2).numpy()
LARGEST_PAIR = 2**15 - 1  # of the 16 bits that two products are added in
CPU_TARGETS = [name for name in targets() if find_target(name).products_saturate]


def student(**recipe: object) -> Student:
    return make_student(randomize(NETWORKS["bottleneck"]()), **recipe)


def largest_weight(model: onnx.ModelProto) -> int:
    """Of the int8 weights of every layer."""
    tensors = [numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.data_type == 3]
    return max(int(np.abs(tensor.astype(np.int32)).max()) for tensor in tensors)


@pytest.mark.parametrize("target", CPU_TARGETS)
@pytest.mark.parametrize("recipe", [{}, {"full_range": True}, {"weight_bits": 4}, {"keep_8bit_share": 0.3}], ids=str)
def test_two_products_of_an_exported_student_fit_16_bits(target: str, recipe: dict[str, object]) -> None:
    prepared = find_target(target).prepare(student(**recipe), IMAGES, ExportOptions())
    assert prepared.changes.reduced_range is True
    assert 2 * 255 * largest_weight(find_target(target).write(prepared.form)) <= LARGEST_PAIR


def test_a_student_of_seven_bits_is_exported_as_it_is() -> None:
    made = student()
    found, changes = weights_for(made, IMAGES)
    assert changes.requantized is None
    assert found.network is made.network
    assert made.widest_weight_bits == 7
    assert made.bits == found.bits == {"weights": 7, "activations": 8}


def test_a_student_of_eight_bits_is_quantized_anew() -> None:
    made = student(full_range=True)
    before = {key: value.clone() for key, value in made.network.state_dict().items()}
    found, changes = weights_for(made, IMAGES)
    assert (made.widest_weight_bits, found.widest_weight_bits) == (8, 7)
    assert (made.bits["weights"], found.bits["weights"]) == (8, 7)
    reduction = changes.requantized
    assert isinstance(reduction, RangeReduction)
    assert 0.98 < reduction.least_cosine <= reduction.mean_cosine < 1
    assert all(torch.equal(value, before[key]) for key, value in made.network.state_dict().items())


def test_a_student_made_before_the_recipe_had_the_key_has_eight_bits() -> None:
    made = student(full_range=True)
    recipe = {key: value for key, value in made.recipe.to_dict().items() if key != "full_range"}
    old = dataclasses.replace(made, recipe=Recipe.from_dict(recipe))
    assert old.bits["weights"] == 8
    found, _ = weights_for(old, IMAGES)
    assert found.widest_weight_bits == found.bits["weights"] == 7


def test_the_full_range_is_kept_where_it_is_asked_for() -> None:
    made = student(full_range=True)
    found, changes = weights_for(made, IMAGES, full_range=True)
    assert changes.requantized is None
    assert found.network is made.network
    assert changes.reduced_range is False
    assert largest_weight(find_target("ort-cpu").write(found)) == 127


def test_tensorrt_adds_in_32_bits() -> None:
    made = student(full_range=True)
    prepared = find_target("trt").prepare(made, IMAGES, ExportOptions(engine=EngineSettings(build=False)))
    assert prepared.student is made
    assert prepared.changes.reduced_range is None
    assert prepared.form.widest_weight_bits == 8


def test_only_the_layers_that_have_eight_bits_are_quantized_anew() -> None:
    made = student(weight_bits=4, edge_weight_bits=4, keep_8bit=("fc",), full_range=True)
    found, changes = weights_for(made, IMAGES)
    reduction = changes.requantized
    assert isinstance(reduction, RangeReduction)
    assert reduction.layers == 1
    names(reduction, 1, 7, f"{reduction.mean_cosine:.4f}")
    assert found.bits["weights"] == made.bits["weights"] == 4


@pytest.mark.parametrize(
    ("full_range", "target", "facts"),
    [(False, "ort-cpu", ("--full-range", 7, "efq-distill")), (True, "trt", ("--full-range", "trt"))],
)
def test_a_full_range_that_changes_nothing_is_refused(full_range: bool, target: str, facts: tuple[object, ...]) -> None:
    with raises_naming(UsageError, *facts):
        options = ExportOptions(full_range=True, engine=EngineSettings(build=False))
        find_target(target).prepare(student(full_range=full_range), IMAGES, options)


def test_the_form_of_tensorrt_has_all_bits() -> None:
    assert student(symmetric_activations=True).widest_weight_bits == 8
