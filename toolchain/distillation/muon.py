"""Muon: momentum whose update of a weight matrix is made orthogonal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5
_MOMENTUM = 0.95


class Muon(torch.optim.Optimizer):
    """Jordan et al. 2024 ("Muon: an optimizer for hidden layers in neural networks"), with Nesterov momentum.

    torch.optim.Muon takes matrices only; here a convolution's weight (O, I, h, w) counts as the matrix (O, I * h * w).
    An update has a root mean square of about `lr`, as AdamW's has, whatever the matrix's shape. Weight decay is
    decoupled.
    """

    def __init__(self, parameters: Iterable[dict[str, Any]], *, lr: float) -> None:
        super().__init__(parameters, {"lr": lr, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        matrix = torch.lerp(gradient, momentum, _MOMENTUM).flatten(1)
        update = orthogonalize(matrix) * max(matrix.shape) ** 0.5
        parameter.mul_(1 - group["lr"] * group["weight_decay"])
        parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"])


def orthogonalize(matrix: Tensor) -> Tensor:
    """U V^T of `matrix` = U S V^T, roughly (singular values of 0.7 to 1.2), by a quintic Newton-Schulz iteration."""
    first, second, third = _COEFFICIENTS
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    result: Tensor = wide / wide.norm().clamp(min=1e-12)
    for _ in range(_ITERATIONS):
        gram = result @ result.T
        result = first * result + (second * gram + third * gram @ gram) @ result
    return result.T if matrix.shape[0] > matrix.shape[1] else result
