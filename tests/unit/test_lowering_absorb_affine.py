"""Absorbing an affine map: exact in the interior, and the note bounds the difference at the border."""

from __future__ import annotations

import pytest
import torch
from messages import names
from networks import MEAN, NETWORKS, STD, normalized, random_images, randomize, relative_difference
from torch import Tensor, nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import ChannelAffine
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm

IMAGES = random_images(4)
NO_CHANGE = (128.0, 128.0, 128.0), (128.0, 128.0, 128.0)  # the image's own zero point and scale


@torch.no_grad()
@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation", "groups"),
    [
        (3, 1, 1, 1, 1),
        (3, 2, 1, 1, 1),
        (5, 1, 2, 1, 3),
        (3, 1, 2, 2, 1),
        (5, 1, 1, 1, 1),
        (1, 1, 1, 1, 1),
        (7, 3, 3, 1, 1),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_interior_exact_and_border_within_the_note(
    kernel: int, stride: int, padding: int, dilation: int, groups: int, seed: int
) -> None:
    layers = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 6, kernel, stride, padding, dilation, groups))
    network = randomize(layers, seed=seed)
    graph = trace(network, *NO_CHANGE, height=28, width=28)
    graph_before = normalized_like(network)
    fold_batchnorm(graph)
    result = absorb_affine(graph)
    assert result.changed == 1
    assert not list(calls(graph, ChannelAffine))
    difference = (graph(IMAGES) - graph_before(IMAGES)).abs().amax((0, 1))
    inside = -(-padding // stride)
    assert float(difference[inside:-inside, inside:-inside].max()) < 1e-4
    (note,) = result.notes
    names(note, 1)
    bound = float(note.split()[-1])
    assert float(difference.max()) <= bound * 1.006 + 1e-5  # three digits are printed
    if stride == 1:
        assert float(difference.max()) == pytest.approx(bound, rel=0.01)


def normalized_like(network: nn.Module) -> nn.Module:
    from efq.toolchain.teachers.normalized_network import NormalizedNetwork

    return NormalizedNetwork(network, *NO_CHANGE).eval()


def test_exact_without_padding_or_without_an_offset() -> None:
    network = randomize(nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3)))
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    assert absorb_affine(graph).notes == ()
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5
    centred = randomize(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)))
    graph = trace(centred, (128.0,) * 3, (64.0,) * 3, height=28, width=28)
    assert absorb_affine(graph).notes == ()


def test_into_a_linear_layer_behind_a_flatten() -> None:
    """IResNet's last BatchNorm: C channels, C * H * W inputs."""
    layers = nn.Sequential(nn.Conv2d(3, 4, 8, 4), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
    network = randomize(layers)
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    assert absorb_affine(graph).changed == 2
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5


class Readers(nn.Module):
    """A BatchNorm that a convolution and an addition read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
        self.norm, self.layer = nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        return torch.flatten(x + self.layer(x), 1)


def test_an_affine_map_with_another_reader_stays() -> None:
    network = randomize(Readers())
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert absorb_affine(graph).changed == 1  # the image's normalization
    assert [node.target for node, _ in calls(graph, ChannelAffine)] == ["norm"]
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5


@pytest.mark.parametrize(
    ("name", "absorbed", "notes"), [("bottleneck", 1, 1), ("preactivation", 4, 3), ("pooling", 1, 1)]
)
def test_of_whole_networks(name: str, absorbed: int, notes: int) -> None:
    graph = trace(randomize(NETWORKS[name]()), MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    result = absorb_affine(graph)
    assert (result.changed, len(result.notes)) == (absorbed, notes)
    assert not list(calls(graph, ChannelAffine))
