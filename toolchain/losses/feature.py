"""The feature term of distillation: the student's residual sums are to be the teacher's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from efq.toolchain.graph.operations import Add


class FeatureRecorder:
    """Keeps what every residual addition of a lowered network gave in its last forward pass, by the module's name.

    Lowering never rescales these sums, so a student's and its float teacher's are directly comparable.
    """

    def __init__(self, network: nn.Module) -> None:
        self.features: dict[str, Tensor] = {}
        for name, module in network.named_modules():
            if isinstance(module, Add):
                module.register_forward_hook(self._hook(name))

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            self.features[name] = output

        return keep


def feature_loss(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Mean over the sums both networks have of mean((s - t)^2) / mean(t^2); the teacher is detached.

    0 where the networks have no sums in common.
    """
    shared = [name for name in teacher if name in student]
    if not shared:
        return torch.zeros(())
    terms = []
    for name in shared:
        wanted = teacher[name].detach().float()
        terms.append((student[name].float() - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12))
    return torch.stack(terms).mean()
