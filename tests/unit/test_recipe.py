"""Recipes: defaults, files, and everything wrong with them as a usage error."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from messages import raises_naming

from efq.runtime.errors import UsageError
from efq.toolchain.data import Augmentation
from efq.toolchain.recipes.recipe import Recipe, load_recipe, recipe_names


def test_the_recipes_that_come_with_efq() -> None:
    names = ("mixed", "narrow", "prelu", "pruned", "relu", "tensorrt", "w4a4", "w4a8", "w6a6")
    assert recipe_names() == names
    for name in names:
        recipe = load_recipe(name)
        relu, mixed = name in ("narrow", "relu"), name in ("mixed", "w4a4", "w6a6")
        activation = "relu" if relu else "mixed" if mixed else "prelu"
        assert (recipe.name, recipe.activation) == (name, activation)
        bits = (recipe.weight_bits, recipe.activation_bits)
        assert bits == ((int(name[1]), int(name[3])) if name.startswith("w") else (8, 8))


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'activation = "relu"\nsteps = 7\nidentities_per_batch = 3\nlearning_rate = 1\n'
        '[layers]\n"stem.*" = "prelu"\n"units.0.*" = "leaky"\n[augmentation]\nflip = 0.0\nsmallest_size = 20\n'
    )
    recipe = load_recipe(str(path))
    assert recipe == Recipe(
        name="mine",
        activation="relu",
        steps=7,
        identities_per_batch=3,
        learning_rate=1,
        layers=(("stem.*", "prelu"), ("units.0.*", "leaky")),
        augmentation=Augmentation(flip=0.0, smallest_size=20),
    )
    assert recipe.batch == 6


def test_plain_values_come_back() -> None:
    recipe = Recipe(
        name="t", layers=(("b", "relu"), ("a", "prelu")), keep_8bit=("x.*", "y"), augmentation=Augmentation(blur=0.5)
    )
    assert Recipe.from_dict(recipe.to_dict()) == recipe
    assert dataclasses.replace(recipe, steps=3).to_dict()["steps"] == 3


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"weight_bits": 9}, ("weight_bits", 2, 8, 9)),
        ({"activation_bits": 1}, ("activation_bits", 2, 8, 1)),
        ({"weight_bits": 7.5}, ("weight_bits", "int", 7.5)),
        ({"steps": True}, ("steps", "int", True)),
        ({"steps": "many"}, ("steps", "int", "many")),
        ({"steps": -1}, ("steps", 0, -1)),
        ({"learning_rate": float("nan")}, ("learning_rate", 1, "nan")),
        ({"float_phase": "weights"}, ("float_phase", "all", "activations", "weights")),
        ({"elementwise_8bit": "prelus"}, ("elementwise_8bit", "none", "sums", "all", "prelus")),
        ({"elementwise_8bit": True}, ("elementwise_8bit", "str", True)),
        ({"keep_8bit_share": 1.5}, ("keep_8bit_share", 0, 1, 1.5)),
        ({"keep_8bit": "fc"}, ("keep_8bit", "fc")),
        ({"activation_zero_points": "yes"}, ("activation_zero_points", "bool", "yes")),
        ({"activation_zero_points": 1}, ("activation_zero_points", "bool", 1)),
        ({"activation": "gelu"}, ("activation", "relu", "leaky", "prelu", "mixed", "gelu")),
        ({"activation": 3}, ("activation", "str", 3)),
        ({"layers": {"stem": "swish"}}, ("relu", "leaky", "prelu", "mixed", "swish")),
        ({"layers": {"stem": 3}}, ("relu", "leaky", "prelu", "mixed", 3)),
        ({"layers": 5}, ("[layers]", 5)),
        ({"augmentation": 5}, ("[augmentation]", 5)),
        ({"augmentation": {"flip": "x"}}, ("augmentation", "flip", "x")),
        ({"augmentation": {"flip": 2.0}}, ("augmentation", "flip", 0, 1, 2.0)),
        ({"augmentation": {"spin": 2.0}}, ("augmentation", "flip", "spin")),
        ({"bits": 4}, ("weight_bits", "bits")),
    ],
)
def test_wrong_values(changes: dict[str, Any], facts: tuple[object, ...]) -> None:
    with raises_naming(UsageError, *facts):
        Recipe.from_dict({"name": "t", **changes})


def test_wrong_files(tmp_path: Path) -> None:
    for name in ("missing", str(tmp_path / "missing.toml"), str(tmp_path)):
        with raises_naming(UsageError, name, *recipe_names(), ".toml"):
            load_recipe(name)
    for content in (b"activation = ", b"\xff\xfe", b'activation = "relu"\nactivation = "prelu"'):
        path = tmp_path / "broken.toml"
        path.write_bytes(content)
        with raises_naming(UsageError, path):
            load_recipe(str(path))
    with raises_naming(UsageError, "name", None):
        Recipe.from_dict({})
