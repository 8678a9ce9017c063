"""Give the widest grid back to the layers whose weights cost most for their size.

Requires: inserted and started quantizers. Ensures: layers holding at most the recipe's `keep_8bit_share` of all weights
have them on the recipe's widest grid, taken in the order of their cost alone (sensitivity) for each weight; a note
names them.
"""

from __future__ import annotations

from torch import Tensor, fx

from efq.toolchain.graph.operations import WEIGHTED, WeightedOperation
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.quantization.sensitivity import layer_costs
from efq.toolchain.quantizers import WeightQuantizer
from efq.toolchain.recipes.recipe import Recipe

_FACES = 32


def keep_sensitive(network: fx.GraphModule, recipe: Recipe, images: Tensor) -> PassResult:
    """Widen in place; `images` uint8 (N, H, W, 3) are the faces the costs are measured on."""
    share, bits = recipe.keep_8bit_share, recipe.widest_weight_bits
    if share == 0.0:
        return PassResult(changed=0)
    layers = {str(node.target): module for node, module in calls(network, *WEIGHTED) if isinstance(module, WEIGHTED)}
    budget = share * sum(module.weight.numel() for module in layers.values())
    costs = layer_costs(network, images[:_FACES], activations=False)
    narrow = [cost for cost in costs if cost.bits < bits]
    kept = []
    for cost in sorted(narrow, key=lambda cost: cost.cost / layers[cost.layer].weight.numel(), reverse=True):
        size = layers[cost.layer].weight.numel()
        if size <= budget:
            _widen(layers[cost.layer], bits)
            budget -= size
            kept.append(cost.layer)
    notes = (f"weights kept at {bits} bits: {', '.join(kept)}",) if kept else ()
    return PassResult(changed=len(kept), notes=notes)


def _widen(module: WeightedOperation, bits: int) -> None:
    module.weight_quantizer = WeightQuantizer(module.weight.shape[0], bits)
    module.weight_quantizer.start_from(module.weight.reshape(module.weight.shape[0], -1))
