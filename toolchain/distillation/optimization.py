"""The optimizer of a distillation and its learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer
from efq.toolchain.recipe import Recipe

_LAST_SHARE = 0.01  # of the peak learning rate, at the last step


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW with its own learning rate for the quantizers' ranges; weight decay on weights alone."""
    ranges = [
        parameter
        for module in network.modules()
        if isinstance(module, ActivationQuantizer | WeightQuantizer)
        for parameter in module.parameters(recurse=False)
        if parameter.requires_grad
    ]
    known = {id(parameter) for parameter in ranges}
    others = [parameter for parameter in network.parameters() if parameter.requires_grad and id(parameter) not in known]
    weights = [parameter for parameter in others if parameter.dim() > 1]
    biases = [parameter for parameter in others if parameter.dim() <= 1]
    groups = [
        {"params": weights, "peak": recipe.learning_rate, "weight_decay": recipe.weight_decay},
        {"params": biases, "peak": recipe.learning_rate, "weight_decay": 0.0},
        {"params": ranges, "peak": recipe.range_learning_rate, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=recipe.learning_rate)


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
