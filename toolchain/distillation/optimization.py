"""The optimizers of a distillation and their learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from efq.toolchain.distillation.muon import Muon
from efq.toolchain.quantizers import ActivationQuantizer, WeightQuantizer
from efq.toolchain.recipes.recipe import Recipe

_LAST_SHARE = 0.01  # of the peak learning rate, at the last step
_SMALLEST_SIZE = 1e-3  # root mean square below which a tensor's rate does not fall further


class Optimizers:
    """Several optimizers as one: each parameter belongs to one of them."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups of all of them."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Drop every gradient."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)

    def step(self) -> None:
        """One update of every parameter that has a gradient."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """The state of each of them."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Continue from what `state_dict` gave."""
        for part, saved in zip(self.parts, state, strict=True):
            part.load_state_dict(saved)


def make_optimizer(network: nn.Module, recipe: Recipe) -> Optimizers:
    """Muon for the weights of full convolutions and linear layers, AdamW for everything else.

    Both move every value by about the learning rate. With BatchNorm folded the weights' sizes span two decades
    between layers, so one rate would scatter the small tensors and freeze the large ones; here the rate is multiplied
    by the tensor's root mean square at the start. The logarithms of scales have `range_learning_rate` as it is.
    """
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    ranges: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if isinstance(module, ActivationQuantizer | WeightQuantizer):
                ranges.append(parameter)
                continue
            size = max(float(parameter.detach().square().mean().sqrt()), _SMALLEST_SIZE)
            decay = recipe.weight_decay if parameter.dim() > 1 else 0.0
            group = {"params": [parameter], "peak": recipe.learning_rate * size, "weight_decay": decay}
            is_matrix = name == "weight" and isinstance(module, nn.Conv2d | nn.Linear) and _groups(module) == 1
            (matrices if is_matrix else others).append(group)
    if ranges:
        others.append({"params": ranges, "peak": recipe.range_learning_rate, "weight_decay": 0.0})
    parts: list[torch.optim.Optimizer] = []
    if matrices:
        parts.append(Muon(matrices, lr=recipe.learning_rate))
    if others:
        # hundreds of small tensors: on a GPU one kernel a group, where the default launches eight a tensor
        fused = all(parameter.is_cuda for group in others for parameter in group["params"])
        parts.append(torch.optim.AdamW(others, lr=recipe.learning_rate, fused=fused))
    return Optimizers(*parts)


def _groups(module: nn.Conv2d | nn.Linear) -> int:
    return module.groups if isinstance(module, nn.Conv2d) else 1


def set_learning_rate(optimizer: Optimizers, recipe: Recipe, step: int) -> None:
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
