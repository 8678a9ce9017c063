"""A last convolution over its whole input becomes a linear layer with the same function."""

from __future__ import annotations

import pytest
from networks import MEAN, NETWORKS, STD, linear_block, normalized, random_images, randomize, relative_difference
from torch import nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.embedding_layer import linearize_embedding_layer
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm

IMAGES = random_images(4)


def lower_head(network: nn.Module) -> tuple[int, float, list[type[nn.Module]]]:
    graph = trace(randomize(network), MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    changed = linearize_embedding_layer(graph, IMAGES[:1]).changed
    kinds = [type(module) for _, module in calls(graph, QuantizedConv2d, QuantizedLinear)]
    return changed, relative_difference(graph, normalized(network), IMAGES), kinds


@pytest.mark.parametrize(
    "network",
    [
        NETWORKS["convolution-head"](),
        nn.Sequential(linear_block(3, 4, 3, 4), nn.ReLU(), linear_block(4, 16, 7), nn.Flatten()),
    ],
    ids=["1x1", "7x7"],
)
def test_is_rewritten(network: nn.Module) -> None:
    changed, difference, kinds = lower_head(network)
    assert changed == 1
    assert difference < 1e-5
    assert kinds[-1] is QuantizedLinear
    assert QuantizedLinear not in kinds[:-1]


@pytest.mark.parametrize(
    "network",
    [
        NETWORKS["bottleneck"](),
        nn.Sequential(linear_block(3, 4, 3, 4), nn.Flatten()),
        nn.Sequential(linear_block(3, 4, 3, 4), linear_block(4, 4, 7, groups=4), nn.Flatten()),
        nn.Sequential(nn.Conv2d(3, 4, 7, 4), nn.Conv2d(4, 4, 8, padding=1), nn.Flatten()),
    ],
    ids=["ends in a linear layer", "smaller kernel", "depthwise", "padded"],
)
def test_stays(network: nn.Module) -> None:
    changed, difference, _ = lower_head(network)
    assert changed == 0
    assert difference < 1e-5
