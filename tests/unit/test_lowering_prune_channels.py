"""Channels inside blocks go: dead and redundant ones for nothing, others by error for each multiply-add."""

from __future__ import annotations

import pytest
import torch
from messages import names
from networks import MEAN, STD, conv_block, linear_block, random_images, randomize, relative_difference
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.lowering.prune_channels import prune_channels

IMAGES = random_images(64)
DEAD = 48


class Wide(nn.Module):
    """A residual block with 64 channels inside, as wide as its depthwise layer: (N, 3, 28, 28) -> (N, 16)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv_block(3, 16, 3, 4)
        self.block = nn.Sequential(conv_block(16, 64, 1), conv_block(64, 64, 3, 1, 64), linear_block(64, 16, 1))
        self.fc = nn.Linear(16 * 7 * 7, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.fc((x + self.block(x)).flatten(1))  # type: ignore[no-any-return]


@torch.no_grad()
def wide(*, dead: bool = False) -> Wide:
    network = randomize(Wide())
    if dead:
        network.block[2][0].weight[:, ::4] = 0.0  # type: ignore[index, union-attr, operator]
    return network


def prepared(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    absorb_affine(graph)
    return graph


def layers(graph: fx.GraphModule) -> dict[str, tuple[int, ...]]:
    return {
        str(node.target): tuple(module.weight.shape)  # type: ignore[union-attr, arg-type]
        for node, module in calls(graph, QuantizedConv2d, QuantizedLinear)
    }


def multiply_adds(graph: fx.GraphModule) -> int:
    """Of Wide: every convolution behind the 28x28 image has 7x7 outputs."""
    return sum(torch.Size(shape).numel() * (49 if len(shape) == 4 else 1) for shape in layers(graph).values())


@torch.no_grad()
def test_channels_that_nothing_reads_cost_nothing() -> None:
    """A quarter of the block's channels has weight 0 behind it: the first 16 to go, and the function stays."""
    graph, before = prepared(wide(dead=True)), prepared(wide(dead=True))
    result = prune_channels(graph, 0.1, IMAGES)
    assert result.changed == 1
    (note,) = result.notes
    names(note, "block.0.0", DEAD, 64)
    assert layers(graph)["block.0.0"] == (DEAD, 16, 1, 1)
    assert layers(graph)["block.1.0"] == (DEAD, 1, 3, 3)
    assert layers(graph)["block.2.0"] == (16, DEAD, 1, 1)
    assert layers(graph)["stem.0"] == layers(before)["stem.0"]  # read by the sum as well
    assert relative_difference(graph, before, IMAGES) < 1e-3


@torch.no_grad()
def test_channels_that_others_stand_in_for_cost_nothing() -> None:
    """A quarter of the channels are twice a neighbour: strong, but its weight can take over theirs."""
    network = wide()
    for layer in (network.block[0], network.block[1]):
        for part in (layer[0], layer[1], layer[2]):  # type: ignore[index]
            for value in (*part.parameters(), *part.buffers()):
                if value.dim():
                    value[::4] = value[1::4]
    network.block[1][1].weight[::4] *= 2  # type: ignore[index]
    network.block[1][1].bias[::4] *= 2  # type: ignore[index]
    graph, before = prepared(network), prepared(network)
    prune_channels(graph, 0.1, IMAGES)
    assert layers(graph)["block.0.0"] == (DEAD, 16, 1, 1)
    assert relative_difference(graph, before, IMAGES) < 1e-2


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_the_asked_share_of_multiply_adds_goes(share: float) -> None:
    graph = prepared(wide())
    before = multiply_adds(graph)
    prune_channels(graph, share, IMAGES)
    saved = 1 - multiply_adds(graph) / before
    assert share <= saved < share + 16 * 49 * (16 + 9 + 16) / before


def test_a_layer_between_two_blocks_is_counted_once() -> None:
    """It loses inputs to one block and outputs to the other: (1 - a) * (1 - b) of it stays, not 1 - a - b."""
    layers_of = [linear_block(64, 64, 1) for _ in range(3)]
    network = nn.Sequential(conv_block(3, 64, 3, 4), *(nn.Sequential(*block, nn.PReLU(64)) for block in layers_of))
    graph = prepared(randomize(nn.Sequential(*network, nn.Flatten(), nn.Linear(64 * 49, 8))))
    before = multiply_adds(graph)
    prune_channels(graph, 0.4, IMAGES)
    assert 0.4 <= 1 - multiply_adds(graph) / before < 0.4 + 16 * 49 * 2 * 64 / before


def test_a_quarter_of_a_block_stays() -> None:
    graph = prepared(wide())
    prune_channels(graph, 0.9, IMAGES)
    assert layers(graph)["block.0.0"][0] == 16


@torch.no_grad()
def test_the_last_layer_is_solved_again() -> None:
    """Pruning half of random channels and solving again is closer to the old function than leaving them out."""
    graph, before, left_out = prepared(wide()), prepared(wide()), prepared(wide())
    prune_channels(graph, 0.3, IMAGES)
    last = left_out.get_submodule("block.2.0")
    kept = graph.get_submodule("block.1.0").weight[:, 0, 1, 1]  # type: ignore[index, union-attr]
    everything = left_out.get_submodule("block.1.0").weight[:, 0, 1, 1]  # type: ignore[index, union-attr]
    last.weight[:, ~torch.isin(everything, kept)] = 0  # type: ignore[index, operator, union-attr]
    assert relative_difference(graph, before, IMAGES) < relative_difference(left_out, before, IMAGES)


def test_nothing_asked() -> None:
    graph = prepared(wide())
    before = layers(graph)
    assert prune_channels(graph, 0.0, IMAGES).changed == 0
    assert layers(graph) == before
