"""Convolutions and matrix products read 4 bits, sums 8, PReLUs the one or the other."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from networks import MEAN, NETWORKS, STD, normalized, random_images, randomize, relative_difference
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import (
    SCALE_PRESERVING,
    Add,
    ChannelAffine,
    Maximum,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.traversal import calls, module_of, producer
from efq.toolchain.lowering import lower
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.activations.exact_prelu import exact_prelu
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.lowering.quantization.insert_quantizers import insert_quantizers
from efq.toolchain.lowering.quantization.narrow_for_products import narrow_for_products
from efq.toolchain.quantizers import ActivationQuantizer
from efq.toolchain.recipes.recipe import Recipe

IMAGES = random_images(8)
RECIPE = Recipe(name="t", activation="prelu", weight_bits=4, activation_bits=4, elementwise_8bit="all")
SLOPES = (-0.3, 0.1, 0.4, 0.8)


class TwoReaders(nn.Module):
    """Tensors that a convolution and a sum read: a convolution's, a PReLU's and a sum's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.prelu = nn.Conv2d(3, 4, 3, 2), nn.PReLU(4)
        self.one, self.two, self.last = (nn.Conv2d(4, 4, 1) for _ in range(3))
        self.head = nn.Linear(4 * 13 * 13, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x + self.one(x)
        x = self.prelu(x)
        x = x + self.two(x)
        x = x + self.last(x)
        return self.head(torch.flatten(x, 1))  # type: ignore[no-any-return]


def exact(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    absorb_affine(graph)
    exact_prelu(graph)
    return graph


def bits_read(graph: fx.GraphModule, node: fx.Node) -> list[int]:
    """The bits of the tensors that `node` reads, but for the image's."""
    found = []
    for source in node.all_input_nodes:
        module = module_of(graph, source)
        while isinstance(module, SCALE_PRESERVING):
            source = producer(source)
            module = module_of(graph, source)
        if isinstance(module, ActivationQuantizer):
            found.append(module.bits)
    return found


@pytest.mark.parametrize("prelus", [True, False])
def test_by_hand(prelus: bool) -> None:
    """One requantization where two kinds read (stem, both sums), none where a product alone does (the last sum).

    A PReLU's maximum has one where its operands have 8 bits, else the few bits already.
    """
    graph = exact(randomize(TwoReaders(), slopes=SLOPES))
    before = {str(node.target) for node, _ in calls(graph, ChannelAffine)}
    changed = narrow_for_products(graph, IMAGES[:1], prelus=prelus).changed
    added = {str(node.target): node for node, _ in calls(graph, ChannelAffine) if str(node.target) not in before}
    assert changed == len(added)
    readers = {name: [str(user.target) for user in node.users] for name, node in added.items()}
    expected = {"stem_narrow": ["one"], "prelu_maximum_narrow": ["two"], "add_1_narrow": ["last"]}
    assert readers == {name: users for name, users in expected.items() if prelus or name != "prelu_maximum_narrow"}


@pytest.mark.parametrize("prelus", [True, False])
@pytest.mark.parametrize("name", ["bottleneck", "preactivation", "convolution-head", "pooling"])
def test_float_function_is_unchanged(name: str, prelus: bool) -> None:
    network = randomize(NETWORKS[name](), slopes=SLOPES)
    graph = exact(network)
    narrow_for_products(graph, IMAGES[:1], prelus=prelus)
    assert relative_difference(graph, exact(network), IMAGES) < 1e-6


@pytest.mark.parametrize("build", [TwoReaders, NETWORKS["bottleneck"], NETWORKS["preactivation"]])
def test_products_read_4_bits_and_elementwise_operations_8(build: type[nn.Module]) -> None:
    graph = exact(randomize(build(), slopes=SLOPES))
    narrow_for_products(graph, IMAGES[:1], prelus=True)
    insert_quantizers(graph, RECIPE)
    for node, _ in calls(graph, QuantizedConv2d, QuantizedLinear):
        assert set(bits_read(graph, node)) <= {4}, node
    for node, _ in calls(graph, Add, Maximum, ChannelAffine):
        assert set(bits_read(graph, node)) == {8}, node


@pytest.mark.parametrize("build", [NETWORKS["bottleneck"], NETWORKS["preactivation"]])
def test_sums_alone_read_8_bits(build: type[nn.Module]) -> None:
    graph = exact(randomize(build(), slopes=SLOPES))
    narrow_for_products(graph, IMAGES[:1], prelus=False)
    insert_quantizers(graph, dataclasses.replace(RECIPE, elementwise_8bit="sums"))
    for node, _ in calls(graph, QuantizedConv2d, QuantizedLinear, Maximum):
        assert set(bits_read(graph, node)) <= {4}, node
    for node, _ in calls(graph, Add):
        assert set(bits_read(graph, node)) == {8}, node


@torch.no_grad()
def test_the_student_starts_closer_to_the_teacher() -> None:
    faces, held_out = random_images(64), random_images(32, seed=3)
    bits = {"activation_bits": 4, "full_range": True, "float_share": 0.5}  # weights as they are: activations alone
    gains = []
    for seed in range(4):
        network = randomize(NETWORKS["bottleneck"](), seed=seed, slopes=SLOPES)
        wanted, cosines = normalized(network)(held_out), []
        for elementwise in ("none", "all"):
            recipe = Recipe(name="t", activation="prelu", elementwise_8bit=elementwise, **bits)
            graph, _ = lower(network, recipe, faces, mean=MEAN, std=STD)
            cosines.append(float(torch.cosine_similarity(graph(held_out), wanted).mean()))
        gains.append(cosines[1] - cosines[0])
    assert sum(gains) / len(gains) > 0.004, gains
