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
from efq.toolchain.lowering.channel_groups import channel_groups
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


@pytest.mark.parametrize(
    ("name", "changed"), [("bottleneck", 8), ("preactivation", 4), ("convolution-head", 2), ("pooling", 2)]
)
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


class Residual(nn.Module):
    """A stem, two blocks whose outputs are added to what they read, an activation between, and a pooled head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3, 2), nn.Linear(6, 5)
        self.blocks = nn.ModuleList(nn.Conv2d(6, 6, 3, 1, 1) for _ in range(2))
        self.prelu, self.pool = nn.PReLU(6), nn.AdaptiveAvgPool2d(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        first = self.stem(images)
        second = self.prelu(first + self.blocks[0](first))
        third = second + self.blocks[1](second)
        return self.head(torch.flatten(self.pool(third), 1))  # type: ignore[no-any-return]


def test_summed_tensors_have_one_factor_a_channel_with_room_in_none() -> None:
    network = randomize(Residual())
    with torch.no_grad():
        network.stem.weight.mul_(torch.logspace(-1, 1, 6)[:, None, None, None])
    graph, before = prepared(network), prepared(network)
    (group,) = channel_groups(graph)
    assert (len(group.writers), len(group.readers)) == (3, 3)
    wide = Ranges(before)
    wide.run(IMAGES)
    assert equalize_channels(graph, IMAGES).changed == 1
    assert relative_difference(graph, before, random_images(8, seed=5)) < 1e-4
    found = Ranges(graph)
    found.run(IMAGES)
    for ranges, room_is_left in ((wide, True), (found, False)):
        room = [reach.max() / reach for reach in (_reach(graph, ranges, node) for node in group.tensors)]
        assert bool((torch.stack(room).amin(0) > 1.001).any()) == room_is_left


def _reach(graph: fx.GraphModule, ranges: Ranges, node: fx.Node) -> torch.Tensor:
    reach = ranges.found[str(node.target)]
    if not isinstance(module_of(graph, node), nn.PReLU):
        return reach
    return torch.maximum(reach, ranges.found[str(node.all_input_nodes[0].target)])


def test_what_a_gate_or_a_concatenation_reads_is_left_alone() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.gate, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 4, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            maps = self.stem(images)
            gated = maps * torch.sigmoid(self.gate(maps.mean((2, 3), keepdim=True)))
            return self.head(torch.cat([maps, gated], 1)).flatten(1)  # type: ignore[no-any-return]

    assert channel_groups(prepared(randomize(Gated()))) == []


def test_what_is_summed_behind_a_flatten_is_left_alone() -> None:
    """There a channel of the maps has many places, and a layer's output one."""

    class Flattened(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.side = nn.Conv2d(3, 4, 3, 14), nn.Linear(16, 16)
            self.head = nn.Linear(16, 5)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            flat = torch.flatten(self.stem(images), 1)
            return self.head(flat + self.side(flat))  # type: ignore[no-any-return]

    graph = prepared(randomize(Flattened()))
    assert channel_groups(graph) == []
    assert equalize_channels(graph, IMAGES).changed == 0
