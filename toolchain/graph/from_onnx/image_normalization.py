"""The normalization of the image inside a network, found at its input."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

_Affine = tuple[Tensor, Tensor]
"""a and b of a * x + b, float64 (3,)."""

_NOTHING: _Affine = (torch.ones(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64))

_STEPS: dict[Any, Callable[[_Affine, Tensor], _Affine]] = {
    operator.add: lambda affine, number: (affine[0], affine[1] + number),
    operator.sub: lambda affine, number: (affine[0], affine[1] - number),
    operator.mul: lambda affine, number: (affine[0] * number, affine[1] * number),
    operator.truediv: lambda affine, number: (affine[0] / number, affine[1] / number),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerNormalization:
    """(x - mean) / std, a channel each, at the input of a network, in the order its first layer reads them in."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def find_normalization(network: fx.GraphModule) -> InnerNormalization | None:
    """What the operations on the image before the first layer are together; None where there are none.

    A BatchNorm that reads the image counts where it is the first: its statistics say what the image is like.
    """
    affine, last = _chain(network)
    if affine is None:
        layer = _only_reader(last)
        module = network.get_submodule(str(layer.target)) if layer is not None and layer.op == "call_module" else None
        affine = _of_batch_norm(module) if isinstance(module, nn.BatchNorm2d) else None
    if affine is None or not bool((affine[0] > 0).all() and torch.isfinite(affine[0]).all()):
        return None
    std = 1 / affine[0]
    return InnerNormalization(mean=tuple((-affine[1] * std).tolist()), std=tuple(std.tolist()))


def _chain(network: fx.GraphModule) -> tuple[_Affine | None, fx.Node]:
    """What sums and products with constants make of the image, and the last of them; RGB may become BGR on the way."""
    last = next(node for node in network.graph.nodes if node.op == "placeholder")
    affine: _Affine | None = None
    while (reader := _only_reader(last)) is not None:
        order = _order_of_channels(network, reader)
        number = _constant(network, reader, last) if reader.target in _STEPS and len(reader.args) == 2 else None
        turned = reader.target in (operator.sub, operator.truediv) and reader.args[0] is not last
        if order is None and (number is None or turned):
            break
        if number is not None:
            affine = _STEPS[reader.target](affine or _NOTHING, number)
        elif affine is not None:
            affine = affine[0][order], affine[1][order]
        last = reader
    return affine, last


def _order_of_channels(network: fx.GraphModule, node: fx.Node) -> Tensor | None:
    """The places that `node` takes its three channels from, each once; None where it does something else."""
    if node.target is not torch.index_select or node.args[1] != 1 or not isinstance(node.args[2], fx.Node):
        return None
    places: Tensor = getattr(network, str(node.args[2].target))
    return places if sorted(places.tolist()) == [0, 1, 2] else None


def _only_reader(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _constant(network: fx.GraphModule, node: fx.Node, image: fx.Node) -> Tensor | None:
    """The other input of a sum or product, one number a channel."""
    other = node.args[1] if node.args[0] is image else node.args[0]
    if isinstance(other, int | float):
        return torch.full((3,), float(other), dtype=torch.float64)
    if isinstance(other, fx.Node) and other.op == "get_attr":
        values: Tensor = getattr(network, str(other.target)).detach().double()
        if values.numel() == 3 and values.dim() >= 3 and values.shape[-3] == 3:
            return values.reshape(3)
    return None


def _of_batch_norm(module: nn.BatchNorm2d) -> _Affine | None:
    if module.num_features != 3 or module.running_mean is None or module.running_var is None:
        return None
    scale = (module.running_var.double() + module.eps).rsqrt()
    return scale, -module.running_mean.double() * scale
