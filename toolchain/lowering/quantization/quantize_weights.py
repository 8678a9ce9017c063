"""Give every weighted layer its weight quantizer, by the recipe's bits."""

from __future__ import annotations

import fnmatch
from collections.abc import Set

from torch import fx, nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import WEIGHTED
from efq.toolchain.graph.traversal import calls
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.recipes.recipe import Recipe


def quantize_weights(
    network: fx.GraphModule, recipe: Recipe, *, kinds: tuple[type[nn.Module], ...] = WEIGHTED
) -> Set[str]:
    """Set the quantizers in place, their scales still to be started; returns the names of `recipe.keep_8bit`'s layers.

    Layers of other `kinds` keep float weights. Raises UsageError for a pattern of `keep_8bit` that matches no layer.
    """
    layers = {str(node.target): module for node, module in calls(network, *kinds)}
    kept = _kept_at_8_bits(list(layers), recipe)
    edges = (next(iter(layers), None), next(reversed(layers), None))
    for name, module in layers.items():
        assert isinstance(module, WEIGHTED)
        bits = 8 if name in kept else recipe.weight_bits
        if name in edges:
            bits = max(bits, recipe.edge_weight_bits)
        module.weight_quantizer = WeightQuantizer(module.weight.shape[0], min(bits, recipe.widest_weight_bits))
    return kept


def _kept_at_8_bits(names: list[str], recipe: Recipe) -> Set[str]:
    kept: set[str] = set()
    for pattern in recipe.keep_8bit:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            message = f"the pattern {pattern!r} of layers to keep at 8 bits matches none; expected one of {names}"
            raise UsageError(message)
        kept.update(matching)
    return kept
