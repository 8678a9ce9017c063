"""Whether weights look like those of a trained network, by their values alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

_MOST_CONSTANT = 0.5  # of the weight tensors; a trained network has none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Soundness:
    """constant: weight tensors of one value, of `weights` in all. not_finite: tensors with NaN or infinity.

    fresh: whether every BatchNorm has the statistics it was made with (mean 0, variance 1).
    """

    weights: int
    constant: tuple[str, ...]
    not_finite: tuple[str, ...]
    fresh: bool

    @property
    def empty(self) -> bool:
        """Whether most weights are of one value, as a state that nothing was written to."""
        return len(self.constant) > _MOST_CONSTANT * self.weights

    @property
    def sound(self) -> bool:
        return not self.empty and not self.not_finite and not self.fresh

    def __str__(self) -> str:
        parts = []
        if self.constant:
            same = f"{len(self.constant)} of {self.weights} weight tensors are of one value ({self.constant[0]})"
            parts.append(same)
        if self.not_finite:
            parts.append(f"{len(self.not_finite)} tensors hold NaN or infinity ({self.not_finite[0]})")
        if self.fresh:
            parts.append("its BatchNorm statistics are those of a new network (mean 0, variance 1)")
        return " and ".join(parts) or "weights that differ"


def look_at(weights: Mapping[str, Tensor]) -> Soundness:
    """What the tensors of a network's state dict, by its names, say."""
    matrices = {name: value for name, value in weights.items() if value.dim() > 1 and value.numel() > 1}
    means = [value for name, value in weights.items() if name.endswith("running_mean")]
    variances = [value for name, value in weights.items() if name.endswith("running_var")]
    return Soundness(
        weights=len(matrices),
        constant=tuple(name for name, value in matrices.items() if bool((value == value.flatten()[0]).all())),
        not_finite=tuple(
            name
            for name, value in weights.items()
            if value.is_floating_point() and not bool(torch.isfinite(value.float()).all())
        ),
        fresh=bool(means)
        and all(not bool(value.any()) for value in means)
        and all(bool((value == 1).all()) for value in variances),
    )
