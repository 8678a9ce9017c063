"""The optimizer of a distillation and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer
from efq.toolchain.recipe import Recipe

_LAST_SHARE = 0.01  # of the peak learning rate, at the last step
_SMALLEST_SIZE = 1e-3  # root mean square below which a tensor's rate does not fall further


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with a learning rate for each tensor, relative to its own size.

    AdamW moves every value by about the learning rate. With BatchNorm folded the weights' sizes span two decades
    between layers, so one rate would scatter the small tensors and freeze the large ones; here the rate is multiplied
    by the tensor's root mean square at the start. The logarithms of scales have `range_learning_rate` as it is.
    """
    ranges = {
        id(parameter)
        for module in network.modules()
        if isinstance(module, ActivationQuantizer | WeightQuantizer)
        for parameter in module.parameters(recurse=False)
    }
    groups = []
    for parameter in network.parameters():
        if parameter.requires_grad:
            size = max(float(parameter.detach().square().mean().sqrt()), _SMALLEST_SIZE)
            peak = recipe.range_learning_rate if id(parameter) in ranges else recipe.learning_rate * size
            decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
            groups.append({"params": [parameter], "peak": peak, "weight_decay": decay})
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Set every group's rate for `step`: linear warm-up, then half a cosine down to 1 % of the peak."""
    factor = schedule(step, recipe.steps, recipe.warmup_share)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def schedule(step: int, steps: int, warmup_share: float) -> float:
    """The share of the peak learning rate at `step` of `steps`."""
    warmup = max(1, round(steps * warmup_share))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return _LAST_SHARE + (1 - _LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * progress))
