"""Operations of a student graph only while it is being written; a rewrite takes each of them away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn


class Elementwise(nn.Module):
    """An ATen operation on each number of its inputs, its other arguments constant: only with others an activation.

    `arguments` by name, `inputs` the names of those that are inputs, in order; tensors among them (1, C, 1, 1).
    """

    def __init__(self, function: Callable[..., Any], arguments: dict[str, Any], inputs: tuple[str, ...]) -> None:
        super().__init__()
        self.function, self.arguments, self.inputs = function, arguments, inputs

    def forward(self, *values: Tensor) -> Tensor:
        constants = {
            name: value.to(values[0].dtype).reshape(1, -1, *(1,) * (values[0].dim() - 2))
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in self.arguments.items()
        }
        result: Tensor = self.function(**constants | dict(zip(self.inputs, values, strict=True)))
        return result


class Unflatten(nn.Module):
    """(N, C * H * W) -> (N, C, H, W)."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, values: Tensor) -> Tensor:
        return values.reshape(len(values), *self.shape)
