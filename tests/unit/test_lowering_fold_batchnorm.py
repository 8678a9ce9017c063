"""Folding BatchNorm into the layer before it leaves the float function as it is."""

from __future__ import annotations

import pytest
import torch
from networks import MEAN, NETWORKS, STD, normalized, random_images, randomize, relative_difference
from torch import Tensor, nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import ChannelAffine
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm

IMAGES = random_images(4)


@pytest.mark.parametrize(
    ("name", "folded", "left"),
    [
        ("bottleneck", 10, ["image_normalization"]),
        ("preactivation", 7, ["image_normalization", "blocks.0.bn1", "blocks.1.bn1", "bn"]),
        ("pooling", 4, ["image_normalization"]),
        ("convolution-head", 3, ["image_normalization"]),
    ],
)
def test_float_function_is_unchanged(name: str, folded: int, left: list[str]) -> None:
    network = randomize(NETWORKS[name]())
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert fold_batchnorm(graph).changed == folded
    assert [node.target for node, _ in calls(graph, ChannelAffine)] == left
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5


def test_by_hand() -> None:
    """gamma / sqrt(variance + epsilon) = 2 / sqrt(3.99 + 0.01) = 1: (x * 5 + 1 - mean 3) * 1 + beta 10."""
    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1, eps=0.01)).eval()
    convolution, norm = network
    with torch.no_grad():
        convolution.weight.fill_(5.0)
        convolution.bias.fill_(1.0)
        for tensor, value in (
            (norm.weight, 2.0),
            (norm.bias, 10.0),
            (norm.running_mean, 3.0),
            (norm.running_var, 3.99),
        ):
            tensor.fill_(value)  # type: ignore[operator]
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert fold_batchnorm(graph).changed == 1
    assert graph.get_submodule("0").weight.flatten().tolist() == pytest.approx([5.0] * 3)  # type: ignore[operator, union-attr]
    assert float(graph.get_submodule("0").bias.detach()) == pytest.approx(8.0)  # type: ignore[operator, union-attr]


class SharedConvolution(nn.Module):
    """A convolution that a BatchNorm and an addition read."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return torch.flatten(x + self.norm(x), 1)


def test_a_batchnorm_beside_another_reader_stays() -> None:
    network = randomize(SharedConvolution())
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert fold_batchnorm(graph).changed == 0
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5


@pytest.mark.parametrize(("kernel", "features", "folded"), [(28, 4, 1), (14, 4 * 15 * 15, 0)])
def test_through_a_flatten_only_of_1x1_maps(kernel: int, features: int, folded: int) -> None:
    network = randomize(nn.Sequential(nn.Conv2d(3, 4, kernel), nn.Flatten(), nn.BatchNorm1d(features)))
    graph = trace(network, MEAN, STD, height=28, width=28)
    assert fold_batchnorm(graph).changed == folded
    assert relative_difference(graph, normalized(network), IMAGES) < 1e-5
