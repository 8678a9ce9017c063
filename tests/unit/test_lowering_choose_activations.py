"""Which activation each PReLU layer gets."""

from __future__ import annotations

import pytest
from messages import raises_naming
from networks import MEAN, NETWORKS, STD, random_images, randomize
from torch import fx

from efq.runtime.errors import UsageError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.lowering.activations.choose_activations import choose_activations
from efq.toolchain.lowering.activations.replace_prelu import relu_fit_errors
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.recipes.recipe import Recipe

IMAGES = random_images(16)
NAMES = ["stem.2", "down.0.2", "down.1.2", "residual.0.2", "residual.1.2", "separate.2"]


@pytest.fixture(scope="module")
def graph() -> fx.GraphModule:
    graph = trace(randomize(NETWORKS["bottleneck"]()), MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    return graph


@pytest.mark.parametrize("kind", ["relu", "leaky", "prelu"])
def test_one_kind_for_all(graph: fx.GraphModule, kind: str) -> None:
    assert choose_activations(graph, Recipe(name="t", activation=kind), IMAGES) == dict.fromkeys(NAMES, kind)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.6, 1.0])
def test_mixed_keeps_its_share_of_elements_where_it_buys_most(graph: fx.GraphModule, share: float) -> None:
    choices = choose_activations(graph, Recipe(name="t", exact_share=share), IMAGES)
    errors = relu_fit_errors(graph, IMAGES)
    exact = [name for name, kind in choices.items() if kind == "prelu"]
    total = sum(elements for _, elements in errors.values())
    assert list(choices) == NAMES
    assert set(choices.values()) <= {"relu", "prelu"}
    spent = sum(errors[name][1] for name in exact)
    assert spent <= share * total
    gain = {name: error / elements for name, (error, elements) in errors.items()}
    for name in set(NAMES) - set(exact):  # what was left out either buys less or did not fit
        better = sum(errors[other][1] for other in exact if gain[other] > gain[name])
        assert better + errors[name][1] > share * total
    assert len(exact) == (0 if share == 0 else 6 if share == 1 else len(exact))


def test_patterns_come_last_and_the_later_one_wins(graph: fx.GraphModule) -> None:
    layers = (("residual.*", "prelu"), ("residual.1.*", "leaky"), ("stem.2", "prelu"))
    choices = choose_activations(graph, Recipe(name="t", activation="relu", layers=layers), IMAGES)
    assert list(choices.values()) == ["prelu", "relu", "relu", "prelu", "leaky", "relu"]


def test_a_pattern_that_matches_nothing(graph: fx.GraphModule) -> None:
    recipe = Recipe(name="t", activation="relu", layers=(("layer9.*", "prelu"),))
    with raises_naming(UsageError, "layer9.*", *NAMES):
        choose_activations(graph, recipe, IMAGES)
