"""Equalizing channels: the same float function, equal ranges."""

from __future__ import annotations

import pytest
import torch
from networks import MEAN, NETWORKS, STD, random_images, randomize, relative_difference
from torch import fx, nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import WEIGHTED, ClippedRelu
from efq.toolchain.graph.traversal import module_of
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.equalize_channels import equalize_channels
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm

IMAGES = random_images(40)


def prepared(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    absorb_affine(graph)
    return graph


def spread_channels(network: nn.Module) -> None:
    """Scale every convolution's output channels by 0.4 to 2.5."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            factors = torch.logspace(-0.4, 0.4, module.num_features)
            with torch.no_grad():
                module.weight.mul_(factors)
                module.bias.mul_(factors)


class Ranges(fx.Interpreter):
    """The largest absolute value of each channel behind each node."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[str, torch.Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.op == "call_module":
            self.found[str(n.target)] = result.detach().abs().transpose(0, 1).flatten(1).amax(1)
        return result


@pytest.mark.parametrize(("name", "changed"), [("bottleneck", 7), ("preactivation", 3), ("convolution-head", 2)])
def test_float_function_is_unchanged(name: str, changed: int) -> None:
    network = randomize(NETWORKS[name]())
    spread_channels(network)
    graph = prepared(network)
    before = prepared(network)
    assert equalize_channels(graph, IMAGES).changed == changed
    assert relative_difference(graph, before, random_images(8, seed=5)) < 1e-4


def test_ranges_are_equal_afterwards() -> None:
    network = randomize(NETWORKS["bottleneck"]())
    spread_channels(network)
    graph = prepared(network)
    wide = Ranges(prepared(network))
    wide.run(IMAGES)
    equalize_channels(graph, IMAGES)
    narrow = Ranges(graph)
    narrow.run(IMAGES)
    checked = 0
    for node in graph.graph.nodes:
        readers = [module_of(graph, user) for user in node.users]
        behind = module_of(graph, node)
        if isinstance(behind, nn.PReLU) and all(isinstance(reader, WEIGHTED) for reader in readers):
            source = str(node.all_input_nodes[0].target)
            reach = torch.maximum(narrow.found[str(node.target)], narrow.found[source])
            before = torch.maximum(wide.found[str(node.target)], wide.found[source])
            assert float(reach.max() / reach.min()) < 1.01
            assert float(before.max() / before.min()) > 4
            checked += 1
    assert checked == 6


def test_a_dead_channel_is_not_blown_up() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten())
    randomize(network)
    with torch.no_grad():
        network[0].weight[1] = 0  # type: ignore[index, operator]
        network[0].bias[1] = -1.0  # type: ignore[index, operator]
    graph = prepared(network)
    before = prepared(network)
    equalize_channels(graph, IMAGES)
    assert relative_difference(graph, before, IMAGES) < 1e-5
    assert all(float(parameter.detach().abs().max()) < 1e4 for parameter in graph.parameters())


@pytest.mark.parametrize("bounded", [nn.ReLU6(), ClippedRelu(0.8)])
def test_channels_behind_a_bound_are_widened_up_to_the_widest(bounded: nn.Module) -> None:
    first = nn.Conv2d(3, 6, 3)
    network = randomize(nn.Sequential(first, bounded, nn.Conv2d(6, 4, 3), nn.Flatten()))
    with torch.no_grad():
        first.weight.mul_(torch.tensor([100, 1, 0.5, 0.3, 1e-4, 0])[:, None, None, None])
        first.bias.copy_(torch.tensor([0, 0, 0, 0, 0, -1]))
    graph, before = prepared(network), prepared(network)
    assert equalize_channels(graph, IMAGES).changed == 1
    assert relative_difference(graph, before, IMAGES) < 1e-5
    found, narrow = (behind_the_bound(each) for each in (graph, before))
    assert found[0] == narrow[0]  # what reaches the bound stays
    assert torch.allclose(found[1:4], found[0])
    assert torch.allclose(found[4:], 16 * narrow[4:])  # nearly dead, and dead


def behind_the_bound(graph: fx.GraphModule) -> torch.Tensor:
    """The ranges of the channels that an activation with a bound gives, on the images."""
    ranges = Ranges(graph)
    ranges.run(IMAGES)
    (name,) = (name for name, module in graph.named_modules() if isinstance(module, nn.ReLU6 | ClippedRelu))
    return ranges.found[name]


def test_what_a_pool_or_a_sum_reads_is_left_alone() -> None:
    graph = prepared(randomize(NETWORKS["pooling"]()))
    assert equalize_channels(graph, IMAGES).changed == 0
