"""Symmetric quantizers stand where TensorRT wants Q/DQ, and nowhere else."""

from __future__ import annotations

import pytest
from networks import MEAN, NETWORKS, STD, random_images, randomize, relative_difference
from torch import fx, nn

from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.operations import Add, ChannelAffine, ImageInput, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.traversal import calls, module_of, producer
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.embedding_layer import linearize_embedding_layer
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.lowering.quantization.insert_symmetric_quantizers import insert_symmetric_quantizers
from efq.toolchain.lowering.quantization.start_ranges import start_ranges
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer, set_enabled
from efq.toolchain.recipes.recipe import Recipe

IMAGES = random_images(16)
RECIPE = Recipe(name="t", activation="prelu", symmetric_activations=True)


def floating(network: nn.Module) -> fx.GraphModule:
    graph = trace(network, MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    linearize_embedding_layer(graph, IMAGES[:1])
    absorb_affine(graph)
    return graph


@pytest.mark.parametrize("name", NETWORKS)
def test_weighted_operators_and_one_branch_read_int8(name: str) -> None:
    graph = floating(randomize(NETWORKS[name]()))
    result = insert_symmetric_quantizers(graph, RECIPE)
    assert result.changed == len(list(calls(graph, ActivationQuantizer)))
    for node, module in calls(graph, QuantizedConv2d, QuantizedLinear):
        assert isinstance(module_of(graph, producer(node)), ActivationQuantizer | ImageInput), node
        assert isinstance(module.weight_quantizer, WeightQuantizer)
    for node, _ in calls(graph, Add):
        quantized = [isinstance(module_of(graph, source), ActivationQuantizer) for source in node.all_input_nodes]
        assert quantized.count(True) == 1, node
    for node, module in calls(graph, ActivationQuantizer):
        assert (module.signed, module.learn_zero_point, module.bits) == (True, False, 8)
        readers = {type(module_of(graph, user)) for user in node.users}
        assert readers <= {QuantizedConv2d, QuantizedLinear, Add}, node


def test_an_affine_that_stays_keeps_float_weights() -> None:
    """TensorRT is given it as a float operator, so the student must not train it on a grid."""
    graph = trace(randomize(NETWORKS["preactivation"]()), MEAN, STD, height=28, width=28)
    fold_batchnorm(graph)
    insert_symmetric_quantizers(graph, RECIPE)
    affines = [module for _, module in calls(graph, ChannelAffine)]
    assert affines
    assert all(module.weight_quantizer is None for module in affines)


def test_the_shortcut_is_the_quantized_branch() -> None:
    """IResNet's downsampling block: the 1x1 convolution of the shortcut, not the block's two 3x3 ones."""
    graph = floating(randomize(NETWORKS["preactivation"]()))
    insert_symmetric_quantizers(graph, RECIPE)
    first, second = (node for node, _ in calls(graph, Add))
    sources = {str(producer(source).target) for source in first.all_input_nodes if "quantizer" in str(source.target)}
    assert sources == {"blocks.0.downsample.0"}
    assert str(first.target) in {str(producer(source).target) for source in second.all_input_nodes}


@pytest.mark.parametrize("name", NETWORKS)
def test_disabled_it_is_the_float_function(name: str) -> None:
    network = randomize(NETWORKS[name]())
    graph, before = floating(network), floating(network)
    insert_symmetric_quantizers(graph, RECIPE)
    start_ranges(graph, IMAGES)
    assert relative_difference(graph, before, IMAGES) > 1e-4
    set_enabled(graph, enabled=False)
    assert relative_difference(graph, before, IMAGES) == 0.0
