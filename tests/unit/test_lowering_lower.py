"""The whole lowering: passes in order, what it reports, how close the student starts."""

from __future__ import annotations

import logging

import pytest
import torch
from messages import names, raises_naming
from networks import MEAN, NETWORKS, STD, normalized, random_images, randomize
from torch import nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import OPERATIONS
from efq.toolchain.lowering import lower
from efq.toolchain.recipes.recipe import Recipe

IMAGES = random_images(256)


def lowered_cosine(name: str, recipe: Recipe, slopes: tuple[float, ...] = (-0.3, 0.1, 0.4, 0.8)) -> float:
    network = randomize(NETWORKS[name](), slopes=slopes)
    graph, _ = lower(network, recipe, IMAGES, mean=MEAN, std=STD)
    images = random_images(32, seed=3)
    with torch.no_grad():
        return float(torch.cosine_similarity(graph(images), normalized(network)(images)).mean())


@pytest.mark.parametrize(("activation", "least"), [("prelu", 0.99), ("mixed", 0.95), ("relu", 0.93), ("leaky", 0.85)])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_student_starts_close_to_the_teacher(name: str, activation: str, least: float) -> None:
    assert lowered_cosine(name, Recipe(name="t", activation=activation)) > least


@pytest.mark.slow
def test_more_bits_are_closer() -> None:
    cosines = [
        lowered_cosine("bottleneck", Recipe(name="t", activation="prelu", weight_bits=bits)) for bits in (2, 4, 8)
    ]
    assert cosines == sorted(cosines)
    assert cosines[-1] - cosines[0] > 0.02


def test_report(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "efq")
    recipe = Recipe(name="t", activation="mixed", exact_share=0.5)
    network = randomize(NETWORKS["bottleneck"]())
    graph, report = lower(network, recipe, IMAGES, mean=MEAN, std=STD)
    assert report.changed["fold_batchnorm"] == 10
    assert report.changed["replace_prelu"] + report.changed["exact_prelu"] == 6 == len(report.activations)
    for line, (name, count) in zip(caplog.messages, report.changed.items(), strict=True):
        names(line, name, count)
    assert len(report.notes) == 1 + report.changed["replace_prelu"]
    for node in graph.graph.nodes:
        if node.op == "call_module":
            assert isinstance(graph.get_submodule(str(node.target)), OPERATIONS)


def test_embedding_stays_float_and_everything_learns() -> None:
    graph, _ = lower(
        randomize(NETWORKS["preactivation"]()), Recipe(name="t", activation="prelu"), IMAGES, mean=MEAN, std=STD
    )
    graph.train()
    torch.autograd.backward(graph(IMAGES).square().sum())
    silent = [
        name for name, parameter in graph.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert silent == []
    fixed = [name for name, parameter in graph.named_parameters() if not parameter.requires_grad]
    assert all(name.endswith(("zero_point", "_slopes.bias")) for name in fixed)


def test_without_images() -> None:
    with raises_naming(UsageError, "face"):
        lower(nn.Conv2d(3, 4, 3), Recipe(name="t"), IMAGES[:0], mean=MEAN, std=STD)
