"""PReLU replaced by fitted ReLU or one slope: the stated error is the measured one, and later layers pay it back."""

from __future__ import annotations

import re

import pytest
import torch
from messages import names, raises_naming
from networks import MEAN, NETWORKS, STD, conv_block, normalized, random_images, randomize, relative_difference
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import LeakyRelu
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.activations.replace_prelu import relu_fit_errors, replace_prelu
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm

IMAGES = random_images(256)
PRELUS = {"bottleneck": 6, "preactivation": 3}


def prepared(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    absorb_affine(graph)
    return graph


def choices(graph: fx.GraphModule, kind: str) -> dict[str, str]:
    return {str(node.target): kind for node, _ in calls(graph, nn.PReLU)}


@torch.no_grad()
def mean_cosine(found: nn.Module, wanted: nn.Module, images: Tensor) -> float:
    return float(torch.cosine_similarity(found(images), wanted(images)).mean())


@pytest.mark.parametrize(("kind", "module"), [("relu", nn.ReLU), ("leaky", LeakyRelu)])
@pytest.mark.parametrize("name", PRELUS)
def test_every_layer_is_replaced_and_the_embeddings_stay_close(name: str, kind: str, module: type[nn.Module]) -> None:
    network = randomize(NETWORKS[name]())
    graph = prepared(network)
    layers = choices(graph, kind)
    result = replace_prelu(graph, layers, IMAGES)
    assert result.changed == len(result.notes) == PRELUS[name]
    for note, layer in zip(result.notes, layers, strict=True):
        names(note, layer, kind)
        assert re.search(r"\b\d\.\d+$", note)
    assert not list(calls(graph, nn.PReLU))
    assert len(list(calls(graph, module))) == PRELUS[name]
    assert mean_cosine(graph, normalized(network), random_images(32, seed=9)) > 0.8


def test_is_better_than_dropping_the_slopes() -> None:
    network = randomize(NETWORKS["bottleneck"](), slopes=(-0.3, 0.1, 0.4))
    fitted, bare = prepared(network), prepared(network)
    replace_prelu(fitted, choices(fitted, "relu"), IMAGES)
    for node, _ in calls(bare, nn.PReLU):
        bare.add_submodule(str(node.target), nn.ReLU())
    images, wanted = random_images(32, seed=9), normalized(network)
    assert mean_cosine(fitted, wanted, images) > mean_cosine(bare, wanted, images) + 0.02


@pytest.mark.parametrize(("kind", "slopes"), [("relu", (0.0,)), ("leaky", (0.3,)), ("leaky", (1.4,))])
def test_exact_where_the_slopes_allow_it(kind: str, slopes: tuple[float, ...]) -> None:
    network = randomize(nn.Sequential(conv_block(3, 6, 3), conv_block(6, 6, 1), nn.Flatten()), slopes=slopes)
    network.append(nn.Linear(6 * 28 * 28, 4))
    graph, before = prepared(network), prepared(network)
    replace_prelu(graph, choices(graph, kind), IMAGES)
    assert relative_difference(graph, before, IMAGES) < 0.02


def test_the_note_is_the_error_of_the_layer() -> None:
    """One PReLU between pointwise convolutions: the fit error on all positions, as the note states it."""
    network = randomize(nn.Sequential(conv_block(3, 6, 1, 4), nn.Conv2d(6, 6, 1), nn.Flatten()))
    graph = prepared(network)
    seen = []
    graph.get_submodule("0.2").register_forward_hook(lambda module, inputs, output: seen.append(output))
    graph(IMAGES)
    result = replace_prelu(graph, choices(graph, "leaky"), IMAGES)
    graph.get_submodule("0.2").register_forward_hook(lambda module, inputs, output: seen.append(output))
    graph(IMAGES)
    wanted_rows, rows = (values.detach().transpose(0, 1).flatten(1) for values in (seen[0], seen[-1]))
    error = float((rows - wanted_rows).square().mean() / wanted_rows.var(1).mean())
    stated = float(result.notes[0].rpartition(" ")[2])
    assert stated == pytest.approx(error, rel=0.1, abs=5e-4)


def test_layers_left_exact_are_unchanged() -> None:
    network = randomize(NETWORKS["bottleneck"]())
    graph, before = prepared(network), prepared(network)
    assert replace_prelu(graph, choices(graph, "prelu"), IMAGES).changed == 0
    assert relative_difference(graph, before, IMAGES) == 0.0
    kinds = choices(graph, "prelu") | {"separate.2": "relu"}
    assert replace_prelu(graph, kinds, IMAGES).changed == 1
    assert len(list(calls(graph, nn.PReLU))) == 5


class Residual(nn.Module):
    """A PReLU that an addition reads, directly behind a convolution, and one behind an addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.layer = nn.Conv2d(3, 4, 3, 2), nn.PReLU(4), nn.Conv2d(4, 4, 1)
        self.second, self.head = nn.PReLU(4), nn.Conv2d(4, 8, 13)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.stem(x))
        return self.head(self.second(x + self.layer(x))).flatten(1)  # type: ignore[no-any-return]


def test_read_by_an_addition_it_stays_a_plain_relu() -> None:
    network = randomize(Residual(), slopes=(0.1,))
    graph = prepared(network)
    assert replace_prelu(graph, {"first": "relu"}, IMAGES).changed == 1
    assert mean_cosine(graph, normalized(network), IMAGES) > 0.95


def test_relu_behind_an_addition_is_refused() -> None:
    graph = prepared(randomize(Residual()))
    with raises_naming(LoweringError, "second", "prelu", "leaky"):
        replace_prelu(graph, {"second": "relu"}, IMAGES)


def test_fit_errors_of_all_layers() -> None:
    graph = prepared(randomize(NETWORKS["bottleneck"]()))
    errors = relu_fit_errors(graph, IMAGES)
    assert list(errors) == list(choices(graph, "relu"))
    assert [elements for _, elements in errors.values()] == [1568, 3136, 784, 784, 784, 1176]
    assert all(0 < error < 1 for error, _ in errors.values())
