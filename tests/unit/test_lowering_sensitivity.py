"""What each quantizer alone costs, against switching it on by hand."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, make_student, random_images, randomize
from torch.nn import functional

from efq.toolchain.graph.operations import QuantizedConv2d, QuantizedLinear
from efq.toolchain.lowering.keep_sensitive import keep_sensitive
from efq.toolchain.lowering.sensitivity import layer_costs
from efq.toolchain.quantizers import ActivationQuantizer, set_enabled
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.student import Student

IMAGES = random_images(12, seed=3)


def recipe(keep_8bit_share: float, *, full_range: bool = False) -> Recipe:
    return Recipe(name="t", keep_8bit_share=keep_8bit_share, full_range=full_range)


@pytest.fixture
def student() -> Student:
    """Four bits everywhere; its weights lie off their grid, as trained ones do."""
    made = make_student(randomize(NETWORKS["bottleneck"]()), weight_bits=4, edge_weight_bits=4, activation_bits=4)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in made.network.modules():
            if isinstance(module, QuantizedConv2d | QuantizedLinear) and module.weight_quantizer is not None:
                step = module.weight_quantizer.scale.reshape(-1, *[1] * (module.weight.dim() - 1))
                module.weight.add_((torch.rand(module.weight.shape, generator=generator) - 0.5) * step)
    return made


@torch.no_grad()
def test_the_costs_are_those_of_one_quantizer_alone(student: Student) -> None:
    network = student.network.eval()
    costs = layer_costs(network, IMAGES)
    set_enabled(network, enabled=False)
    exact = functional.normalize(network(IMAGES), dim=1)
    modules = dict(network.named_modules())
    for cost in costs:
        module = modules[cost.layer]
        quantizer = module.weight_quantizer if cost.weights else module
        quantizer.enabled = True
        found = functional.normalize(network(IMAGES), dim=1)
        quantizer.enabled = False
        assert cost.cost == pytest.approx(float((1 - (found * exact).sum(1)).mean()), abs=1e-6)
        assert cost.bits == quantizer.bits == 4
    weighted = [cost.layer for cost in costs if cost.weights]
    assert weighted == [name for name, m in modules.items() if isinstance(m, QuantizedConv2d | QuantizedLinear)]
    assert len(costs) - len(weighted) == sum(isinstance(m, ActivationQuantizer) for m in modules.values())
    assert max(cost.cost for cost in costs) > 1e-4
    assert [cost.weights for cost in layer_costs(network, IMAGES, activations=False)] == [True] * len(weighted)


def test_the_network_is_left_as_it_was(student: Student) -> None:
    network = student.network.train()
    switch = next(module for module in network.modules() if isinstance(module, ActivationQuantizer))
    switch.enabled = False
    before = {key: value.clone() for key, value in network.state_dict().items()}
    layer_costs(network, IMAGES)
    assert network.training
    assert [m.enabled for m in network.modules() if isinstance(m, ActivationQuantizer)].count(False) == 1
    assert not switch.enabled
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("full_range", [True, False])
def test_the_costliest_layers_for_their_size_keep_the_widest_grid(student: Student, full_range: bool) -> None:
    network, bits = student.network, 8 if full_range else 7
    costs = {cost.layer: cost.cost for cost in layer_costs(network, IMAGES, activations=False)}
    layers = {name: m for name, m in network.named_modules() if isinstance(m, QuantizedConv2d | QuantizedLinear)}
    result = keep_sensitive(network, recipe(0.2, full_range=full_range), IMAGES)
    kept = {name for name, layer in layers.items() if layer.weight_quantizer and layer.weight_quantizer.bits == bits}
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}
    affine = sum(m.weight.numel() for m in network.modules() if type(m).__name__ == "ChannelAffine")
    budget = 0.2 * (sum(sizes.values()) + affine)
    assert result.changed == len(kept) > 0
    assert sum(sizes[name] for name in kept) <= budget
    assert result.notes[0].startswith(f"weights kept at {bits} bits: ")
    ranked = sorted(layers, key=lambda name: costs[name] / sizes[name], reverse=True)
    free = budget
    for name in ranked:
        assert (name in kept) == (sizes[name] <= free), name
        free -= sizes[name] if name in kept else 0
    after = {cost.layer: cost.cost for cost in layer_costs(network, IMAGES, activations=False)}
    assert all(after[name] < 0.1 * costs[name] + 1e-6 for name in kept)


def test_costs_at_other_bits(student: Student) -> None:
    """As if the weights had so many bits: the fewer the dearer, and the student's own quantizers stay."""
    before = {name: m.weight_quantizer for name, m in student.network.named_modules() if hasattr(m, "weight_quantizer")}
    totals = [sum(cost.cost for cost in layer_costs(student.network, IMAGES, weight_bits=bits)) for bits in (2, 4, 8)]
    assert totals[0] > 2 * totals[1] > 20 * totals[2]
    found = layer_costs(student.network, IMAGES, weight_bits=2)
    assert all(cost.weights and cost.bits == 2 for cost in found)
    assert all(student.network.get_submodule(name).weight_quantizer is q for name, q in before.items())


def test_no_share_changes_nothing(student: Student) -> None:
    assert keep_sensitive(student.network, recipe(0.0), IMAGES).changed == 0
    assert keep_sensitive(student.network, recipe(0.001), IMAGES).notes == ()
