"""The activation of each PReLU layer, by the recipe.

`relu`, `leaky` and `prelu` mean every layer. `mixed` keeps the exact PReLU where it buys most: layers are taken in the
order of fit error per element until the exact ones hold the recipe's share of all activation elements (the exact form
costs three more elementwise kernels, so its time follows the elements). A recipe's `layers` patterns come last and win.
"""

from __future__ import annotations

import fnmatch

from torch import Tensor, fx, nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.traversal import calls
from efq.toolchain.lowering.activations.replace_prelu import relu_fit_errors
from efq.toolchain.recipes.recipe import Recipe


def choose_activations(network: fx.GraphModule, recipe: Recipe, images: Tensor) -> dict[str, str]:
    """Name of each PReLU, in graph order, to `relu`, `leaky` or `prelu`."""
    names = [str(node.target) for node, _ in calls(network, nn.PReLU)]
    if recipe.activation == "mixed":
        choices = _spend(relu_fit_errors(network, images), recipe.exact_share)
    else:
        choices = dict.fromkeys(names, recipe.activation)
    for pattern, kind in recipe.layers:
        matching = fnmatch.filter(names, pattern)
        if not matching:
            message = f"the recipe's layer pattern {pattern!r} matches no PReLU; expected one of {names}"
            raise UsageError(message)
        choices |= dict.fromkeys(matching, kind)
    return choices


def _spend(errors: dict[str, tuple[float, int]], share: float) -> dict[str, str]:
    budget = share * sum(elements for _, elements in errors.values())
    choices = dict.fromkeys(errors, "relu")
    for name in sorted(errors, key=lambda name: errors[name][0] / errors[name][1], reverse=True):
        if errors[name][1] <= budget:
            choices[name] = "prelu"
            budget -= errors[name][1]
    return choices
