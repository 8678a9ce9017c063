"""The sizes of everything a graph computes for one image, without computing it: whether its layers go together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import (
    FLOAT_ACTIVATIONS,
    WEIGHTED,
    Add,
    ClippedRelu,
    Concat,
    GlobalAveragePool,
    ImageInput,
    LeakyRelu,
    Maximum,
    Multiply,
    Pad,
    QuantizedLinear,
    SelectChannels,
)
from efq.toolchain.graph.walker import Call, walk
from efq.toolchain.quantizers import ActivationQuantizer, set_enabled

LARGEST_MAP = 1 << 25
"""Elements of one tensor for one image: 64 channels of 724x724."""
LARGEST_NETWORK = 1 << 40
"""Multiply-adds and elements for one image: IResNet-100 has 2^35 at 112x112."""

_IMAGES = 97  # a size that no layer has: what mixes images with channels or rows does not fit


class ShapeError(ValueError):
    """Layers that do not go together, or a network larger than any for faces; the message names the layer."""


def _elementwise(module: Any, value: Tensor) -> Sequence[int]:
    return value.shape


def _image(module: Any, image: Tensor) -> Sequence[int]:
    rows, height, width, _ = image.shape
    _require(image.dtype == torch.uint8)
    return rows, 3, height, width


def _broadcast(module: Any, left: Tensor, right: Tensor) -> Sequence[int]:
    shape: Sequence[int] = torch.broadcast_shapes(left.shape, right.shape)  # type: ignore[no-untyped-call]
    return shape


def _gated(module: Any, left: Tensor, right: Tensor) -> Sequence[int]:
    _require(left.shape[:2] == right.shape[:2] and left.dim() == right.dim())
    return _broadcast(module, left, right)


def _padded(module: Any, maps: Tensor) -> Sequence[int]:
    rows, channels, height, width = maps.shape
    return rows, channels, module.above + height + module.below, module.before + width + module.behind


def _selected(module: Any, value: Tensor) -> Sequence[int]:
    _require(max(module.channels) < value.shape[1])
    return value.shape[0], len(module.channels), *value.shape[2:]


def _concatenated(module: Any, *parts: Tensor) -> Sequence[int]:
    rows, _, *sizes = parts[0].shape
    _require(all((part.shape[0], *part.shape[2:]) == (rows, *sizes) for part in parts))
    return rows, sum(part.shape[1] for part in parts), *sizes


def _pooled(module: Any, maps: Tensor) -> Sequence[int]:
    rows, channels, _, _ = maps.shape
    return rows, channels, 1, 1


def _prelu(module: Any, value: Tensor) -> Sequence[int]:
    _require(module.num_parameters in (1, value.shape[1]))
    return value.shape


def _linear(module: Any, value: Tensor) -> Sequence[int]:
    _require(value.shape[-1] == module.in_features)
    return *value.shape[:-1], module.out_features


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError


_RULES: dict[type[nn.Module], Callable[..., Sequence[int]]] = {
    **dict.fromkeys((ActivationQuantizer, ClippedRelu, LeakyRelu, *FLOAT_ACTIVATIONS, nn.ReLU, nn.ReLU6), _elementwise),
    **dict.fromkeys((Add, Maximum), _broadcast),
    Multiply: _gated,
    ImageInput: _image,
    Concat: _concatenated,
    GlobalAveragePool: _pooled,
    Pad: _padded,
    SelectChannels: _selected,
    nn.PReLU: _prelu,
    QuantizedLinear: _linear,
}
"""Of kinds that torch loads its compiler for on the meta device, in a second or more; the others it computes."""


Visit = Callable[[Call, Tensor], None]
"""Of each call and its first input, which has shape and dtype but no numbers."""


@dataclasses.dataclass
class _Shapes:
    visit: Visit
    work: int = 0

    def of_call(self, call: Call, inputs: list[Tensor]) -> Tensor:
        """The output of a call, without its numbers."""
        described = f"layer {call.name!r} ({type(call.module).__name__})"
        found = " and ".join(map(_one, inputs))
        self.visit(call, inputs[0])
        try:
            rule = _RULES.get(type(call.module))
            output: Tensor = (
                call.module(*inputs) if rule is None else torch.empty(tuple(rule(call.module, *inputs)), device="meta")
            )
        except (RuntimeError, ValueError, IndexError, TypeError) as error:
            message = f"{described} cannot read a tensor of {found}: its sizes do not go with the layers before it"
            raise ShapeError(message) from error
        per_image = output.numel() // _IMAGES
        self.work += per_image * (call.module.weight[0].numel() if isinstance(call.module, WEIGHTED) else 1)
        if len(output) != _IMAGES or not per_image or per_image > LARGEST_MAP or self.work > LARGEST_NETWORK:
            message = f"{described} gives a tensor of {_one(output)}: expected 1 to {LARGEST_MAP:,} numbers"
            raise ShapeError(message)
        return output


def embedding_size(network: fx.GraphModule, height: int, width: int, *, visit: Visit = lambda call, value: None) -> int:
    """How many numbers a graph on the meta device gives for an image of `height` x `width`.

    Raises ShapeError naming the first layer whose input has other sizes than it takes, or that gives no embedding.
    """
    image = torch.empty(_IMAGES, height, width, 3, dtype=torch.uint8, device="meta")
    set_enabled(network, enabled=False)
    output = walk(network, image, {nn.Module: _Shapes(visit).of_call})
    if output.dim() != 2 or len(output) != _IMAGES:
        message = f"expected one embedding, (1, d), as the network's output for one image, found {_one(output)}"
        raise ShapeError(message)
    return output.shape[1]


def _one(value: Tensor) -> str:
    """The shape for one image."""
    return str((1 if len(value) == _IMAGES else len(value), *value.shape[1:]))
