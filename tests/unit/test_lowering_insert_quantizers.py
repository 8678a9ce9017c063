"""Quantizers on every tensor an integer kernel reads, and on every weight."""

from __future__ import annotations

import pytest
import torch
from messages import raises_naming
from networks import MEAN, NETWORKS, STD, random_images, randomize, relative_difference
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError, UsageError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import SCALE_PRESERVING, WEIGHTED, Add, Concat, ImageInput, Maximum, QuantizedConv2d
from efq.toolchain.graph.traversal import calls, module_of, producer
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.activations.exact_prelu import exact_prelu
from efq.toolchain.lowering.embedding_layer import linearize_embedding_layer
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.lowering.quantization.insert_quantizers import insert_quantizers
from efq.toolchain.lowering.quantization.start_ranges import start_ranges
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer, set_enabled
from efq.toolchain.recipes.recipe import Recipe

IMAGES = random_images(16)
RECIPE = Recipe(name="t", activation="prelu")


def exact(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    linearize_embedding_layer(graph, IMAGES[:1])
    absorb_affine(graph)
    exact_prelu(graph)
    return graph


def quantized_source(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """What gave `node` its scale, looking through operations that keep it."""
    module = module_of(graph, node)
    return quantized_source(graph, producer(node)) if isinstance(module, SCALE_PRESERVING) else module


@pytest.mark.parametrize("name", NETWORKS)
def test_every_integer_kernel_reads_quantized_tensors(name: str) -> None:
    graph = exact(randomize(NETWORKS[name]()))
    result = insert_quantizers(graph, RECIPE)
    assert result.changed == len(list(calls(graph, ActivationQuantizer)))
    kernels = (*WEIGHTED, Add, Concat, nn.AvgPool2d, nn.MaxPool2d)
    for node, module in calls(graph, *kernels):
        for source in node.all_input_nodes:
            assert isinstance(quantized_source(graph, source), ActivationQuantizer | ImageInput), (node, source)
        if isinstance(module, WEIGHTED):
            assert isinstance(module.weight_quantizer, WeightQuantizer)
    assert not list(calls(graph, nn.ReLU, nn.ReLU6, nn.PReLU))
    for node, _ in calls(graph, ActivationQuantizer):
        assert not isinstance(module_of(graph, producer(node)), (ActivationQuantizer, *SCALE_PRESERVING))
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    assert isinstance(module_of(graph, producer(output)), WEIGHTED)


@pytest.mark.parametrize("name", NETWORKS)
def test_disabled_it_is_the_float_function(name: str) -> None:
    network = randomize(NETWORKS[name]())
    graph, before = exact(network), exact(network)
    insert_quantizers(graph, RECIPE)
    start_ranges(graph, IMAGES)
    assert relative_difference(graph, before, IMAGES) > 1e-4
    set_enabled(graph, enabled=False)
    assert relative_difference(graph, before, IMAGES) == 0.0


def test_signs_and_upper_bounds() -> None:
    """Unsigned behind ReLU and what only joins or averages such tensors, signed elsewhere; ReLU6 starts below 6."""
    graph = exact(randomize(NETWORKS["pooling"]()))
    insert_quantizers(graph, RECIPE)
    found = {
        str(node.target): (module.signed, module.upper_bound, module.learn_zero_point)
        for node, module in calls(graph, ActivationQuantizer)
        if isinstance(module, ActivationQuantizer)
    }
    assert found == {
        "stem.2": (False, 6.0, False),
        "relu": (False, None, False),
        "relu_for_relu_1": (False, None, False),
        "cat_quantizer": (False, None, False),
        "narrow.0_quantizer": (True, None, True),
        "narrow.2_quantizer": (True, None, True),
        "narrow.3_quantizer": (True, None, True),
        "relu_2": (False, None, False),
        "pool_quantizer": (False, None, False),
    }


def test_both_operands_of_a_maximum_share_a_quantizer() -> None:
    """So that the larger integer is the larger value, and an exact PReLU adds no scale of its own."""
    graph = exact(randomize(NETWORKS["bottleneck"]()))
    insert_quantizers(graph, RECIPE)
    maxima = list(calls(graph, Maximum))
    assert maxima
    for node, _ in maxima:
        left, right = (module_of(graph, source) for source in node.all_input_nodes)
        assert isinstance(left, ActivationQuantizer)
        assert left is right


def test_zero_points_only_where_the_recipe_wants_them() -> None:
    graph = exact(randomize(NETWORKS["bottleneck"]()))
    insert_quantizers(graph, Recipe(name="t", activation_zero_points=False))
    quantizers = [module for _, module in calls(graph, ActivationQuantizer)]
    assert not any(module.learn_zero_point for module in quantizers)


@pytest.mark.parametrize("full_range", [True, False])
@pytest.mark.parametrize(("bits", "edge"), [(8, 8), (4, 8), (4, 4), (4, 2), (2, 6)])
def test_bits_of_weights_and_activations(bits: int, edge: int, full_range: bool) -> None:
    """Of eight bits seven are used unless the recipe has the full range."""
    graph = exact(randomize(NETWORKS["bottleneck"]()))
    recipe = Recipe(name="t", weight_bits=bits, edge_weight_bits=edge, activation_bits=7, full_range=full_range)
    widest = 8 if full_range else 7
    insert_quantizers(graph, recipe)
    found = [module.weight_quantizer.bits for _, module in calls(graph, *WEIGHTED)]  # type: ignore[union-attr]
    assert found[0] == found[-1] == min(max(bits, edge), widest)
    assert set(found[1:-1]) == {min(bits, widest)}
    assert {module.bits for _, module in calls(graph, ActivationQuantizer)} == {7}


def test_layers_kept_at_8_bits_keep_weights_and_output() -> None:
    graph = exact(randomize(NETWORKS["bottleneck"]()))
    recipe = Recipe(name="t", weight_bits=4, activation_bits=5, edge_weight_bits=4, keep_8bit=("down.1.*", "fc"))
    insert_quantizers(graph, recipe)
    kept = {str(node.target) for node, m in calls(graph, *WEIGHTED) if m.weight_quantizer.bits == 7}  # type: ignore[union-attr]
    assert kept == {"down.1.0", "down.1.2_slopes", "fc"}
    wide = {str(node.target) for node, m in calls(graph, ActivationQuantizer) if m.bits == 8}  # type: ignore[union-attr]
    assert wide == {"down.1.0_quantizer"}  # shared with its slopes; the embedding is float32
    with raises_naming(UsageError, "up.*", "stem.0", "down.1.2_slopes", "fc"):
        insert_quantizers(exact(randomize(NETWORKS["bottleneck"]())), Recipe(name="t", keep_8bit=("fc", "up.*")))


def test_a_relu_behind_a_kept_layer_keeps_8_bits() -> None:
    graph = exact(randomize(NETWORKS["pooling"]()))
    insert_quantizers(graph, Recipe(name="t", weight_bits=4, activation_bits=4, keep_8bit=("left.0",)))
    bits = {str(node.target): m.bits for node, m in calls(graph, ActivationQuantizer)}  # type: ignore[union-attr]
    assert sorted(bits.values()).count(8) == 1


def test_a_batchnorm_on_flattened_maps_that_nothing_takes_in_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.Flatten(), nn.BatchNorm1d(4 * 13 * 13), nn.ReLU())
    graph = exact(randomize(nn.Sequential(*network, nn.Linear(4 * 13 * 13, 8))))
    with raises_naming(LoweringError, 2, "BatchNorm"):
        insert_quantizers(graph, RECIPE)


class ReluBesideAddition(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        return torch.flatten(self.other(x) + torch.relu(x), 1)


def test_a_relu_beside_another_reader_clamps_what_is_quantized_for_both() -> None:
    graph = exact(ReluBesideAddition())
    insert_quantizers(graph, RECIPE)
    other = next(node for node, _ in calls(graph, QuantizedConv2d) if node.target == "other")
    shared = producer(other)
    (clamped,) = [user for user in shared.users if user is not other]
    found = [module_of(graph, node) for node in (shared, clamped)]
    assert [module.signed for module in found if isinstance(module, ActivationQuantizer)] == [True, False]
