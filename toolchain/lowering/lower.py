"""The lowering of a float network into an integer-native student, pass after pass."""

from __future__ import annotations

import dataclasses
import logging

from torch import Tensor, fx, nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.from_torch import trace
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import to_channels_last
from efq.toolchain.lowering.absorb_affine import absorb_affine
from efq.toolchain.lowering.activations.choose_activations import choose_activations
from efq.toolchain.lowering.activations.exact_prelu import exact_prelu
from efq.toolchain.lowering.activations.gates import fold_hard_gates, split_swishes
from efq.toolchain.lowering.activations.replace_prelu import replace_prelu
from efq.toolchain.lowering.bound_crops import bound_crops
from efq.toolchain.lowering.check_graph import check_graph
from efq.toolchain.lowering.embedding_layer import linearize_embedding_layer
from efq.toolchain.lowering.equalize_channels import equalize_channels
from efq.toolchain.lowering.fold_batchnorm import fold_batchnorm
from efq.toolchain.lowering.fold_pads import fold_pads
from efq.toolchain.lowering.fold_selects import fold_selects
from efq.toolchain.lowering.prune_channels import prune_channels
from efq.toolchain.lowering.quantization.compensate_rounding import compensate_rounding
from efq.toolchain.lowering.quantization.insert_quantizers import insert_quantizers
from efq.toolchain.lowering.quantization.insert_symmetric_quantizers import insert_symmetric_quantizers
from efq.toolchain.lowering.quantization.keep_sensitive import keep_sensitive
from efq.toolchain.lowering.quantization.narrow_for_products import narrow_for_products
from efq.toolchain.lowering.quantization.start_ranges import start_ranges
from efq.toolchain.recipes.recipe import Recipe

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoweringReport:
    """What each pass changed, in order, and the activation chosen for each PReLU layer."""

    changed: dict[str, int]
    notes: tuple[str, ...]
    activations: dict[str, str]


def float_graph(
    network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], *, height: int = 112, width: int = 112
) -> fx.GraphModule:
    """`network` on uint8 (N, height, width, 3) images with its BatchNorms folded: the same float function, faster.

    The same to a positive factor for each image, where `network` normalizes its embeddings. Its residual sums have the
    names they have in the lowered student. Raises LoweringError as `lower` does.
    """
    graph = trace(network, mean, std, height=height, width=width)
    fold_batchnorm(graph)
    to_channels_last(graph)
    return graph.requires_grad_(False)


def lower(
    network: nn.Module,
    recipe: Recipe,
    images: Tensor,
    *,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> tuple[fx.GraphModule, LoweringReport]:
    """The quantized student graph of `network`, ready to train or to export.

    `images` uint8 (N, H, W, 3) are the faces the activations are fitted on and the ranges started from; `mean` and
    `std` are the network's normalization in pixel units. Raises LoweringError when something has no integer form.
    """
    if images.shape[0] == 0:
        message = "expected at least one face to lower on, found none"
        raise UsageError(message)
    graph = trace(network, mean, std, height=images.shape[1], width=images.shape[2])
    check_graph(graph, network, images, mean=mean, std=std)
    return graph, lower_graph(graph, recipe, images)


def lower_graph(graph: fx.GraphModule, recipe: Recipe, images: Tensor) -> LoweringReport:
    """Quantize a traced `graph` in place, by `recipe` and on `images` as `lower` does."""
    changed: dict[str, int] = {}
    notes: list[str] = []

    def run(name: str, result: PassResult) -> None:
        changed[name] = result.changed
        notes.extend(result.notes)
        _logger.info("lowering: %s: %d", name, result.changed)

    run("bound_crops", bound_crops(graph, images[:1]))
    run("fold_pads", fold_pads(graph))
    run("fold_selects", fold_selects(graph, images[:1]))
    run("fold_batchnorm", fold_batchnorm(graph))
    run("fold_hard_gates", fold_hard_gates(graph))
    run("linearize_embedding_layer", linearize_embedding_layer(graph, images[:1]))
    run("absorb_affine", absorb_affine(graph))
    fitting = images[: recipe.fitting_images]
    activations = choose_activations(graph, recipe, fitting)
    run("replace_prelu", replace_prelu(graph, activations, fitting))
    run("prune_channels", prune_channels(graph, recipe.pruned_share, fitting))
    run("equalize_channels", equalize_channels(graph, fitting))
    if recipe.symmetric_activations:
        run("insert_symmetric_quantizers", insert_symmetric_quantizers(graph, recipe))
    else:
        run("exact_prelu", exact_prelu(graph))
        run("split_swishes", split_swishes(graph))
        if recipe.elementwise_8bit != "none":
            prelus = recipe.elementwise_8bit == "all"
            run("narrow_for_products", narrow_for_products(graph, images[:1], prelus=prelus))
        run("insert_quantizers", insert_quantizers(graph, recipe))
    run("start_ranges", start_ranges(graph, images))
    run("keep_sensitive", keep_sensitive(graph, recipe, fitting))
    if not recipe.starts_with_float_weights:
        run("compensate_rounding", compensate_rounding(graph, fitting))
    to_channels_last(graph)
    return LoweringReport(changed=changed, notes=tuple(notes), activations=activations)
