"""Recipes: defaults, files, and everything wrong with them as a usage error."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

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
    ("changes", "message"),
    [
        ({"weight_bits": 9}, "expected weight_bits between 2 and 8, found 9"),
        ({"activation_bits": 1}, "activation_bits between 2 and 8"),
        ({"weight_bits": 7.5}, "expected weight_bits to be int, found 7.5"),
        ({"steps": True}, "expected steps to be int, found True"),
        ({"steps": "many"}, "expected steps to be int"),
        ({"steps": -1}, "steps between 0"),
        ({"learning_rate": float("nan")}, "learning_rate between 0 and 1"),
        ({"float_phase": "weights"}, "expected float_phase 'all' or 'activations', found 'weights'"),
        ({"elementwise_8bit": "prelus"}, "expected elementwise_8bit 'none' or 'sums' or 'all', found 'prelus'"),
        ({"elementwise_8bit": True}, "expected elementwise_8bit to be str, found True"),
        ({"keep_8bit_share": 1.5}, "keep_8bit_share between 0 and 1"),
        ({"keep_8bit": "fc"}, "expected keep_8bit of the recipe to be a list of name patterns, found 'fc'"),
        ({"activation_zero_points": "yes"}, "activation_zero_points to be bool"),
        ({"activation_zero_points": 1}, "activation_zero_points to be bool"),
        ({"activation": "gelu"}, "expected an activation of .* found 'gelu'"),
        ({"activation": 3}, "expected activation to be str"),
        ({"layers": {"stem": "swish"}}, "found 'swish'"),
        ({"layers": {"stem": 3}}, "found 3"),
        ({"layers": 5}, r"expected \[layers\] of the recipe to be a table"),
        ({"augmentation": 5}, r"expected \[augmentation\] of the recipe to be a table"),
        ({"augmentation": {"flip": "x"}}, "flip = 'x'"),
        ({"augmentation": {"flip": 2.0}}, "flip"),
        ({"augmentation": {"spin": 2.0}}, r"unknown \['spin'\]"),
        ({"bits": 4}, r"unknown \['bits'\]"),
    ],
)
def test_wrong_values(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Recipe.from_dict({"name": "t", **changes})


def test_wrong_files(tmp_path: Path) -> None:
    for name in ("missing", str(tmp_path / "missing.toml"), str(tmp_path)):
        with pytest.raises(UsageError, match=r"unknown recipe .* expected one of mixed, narrow, prelu,"):
            load_recipe(name)
    for content in (b"activation = ", b"\xff\xfe", b'activation = "relu"\nactivation = "prelu"'):
        path = tmp_path / "broken.toml"
        path.write_bytes(content)
        with pytest.raises(UsageError, match="cannot read the recipe"):
            load_recipe(str(path))
    with pytest.raises(UsageError, match="name None"):
        Recipe.from_dict({})
