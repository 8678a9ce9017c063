"""The backbones EFQ knows by name, and any other network through `package.module:factory`."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from torch import Tensor, nn

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.errors import UsageError

Triple = tuple[float, float, float]
Weights = Mapping[str, Tensor]
ColorOrder = Literal["rgb", "bgr"]
COLOR_ORDERS: tuple[ColorOrder, ...] = ("rgb", "bgr")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """A float network by name.

    `build(**arguments)` makes the module: float32 (N, 3, H, W) in, (N, d) raw embeddings out. The input is
    (pixel - mean) / std for pixels in 0..255, mean and std those of R, G and B, its channels in `color_order`.
    `size` is its height and width; None where that is not known, or where the built module's own `input_size` says it.
    `arguments_of` reads the arguments of `build` off a state dict, so that one name covers every embedding size and
    width. `keys` are some of its weights' names: a state dict without them is not tried. `by_name_only` is of a network
    that computes otherwise than others of the same keys: no state dict is taken for it unless it is named.
    `licence` is that of the weights it is published with, `provenance` a line on what they were trained on.
    """

    name: str
    build: Callable[..., nn.Module]
    mean: Triple = (127.5, 127.5, 127.5)
    std: Triple = (127.5, 127.5, 127.5)
    arguments_of: Callable[[Weights], dict[str, Any]] = lambda weights: {}
    size: tuple[int, int] | None = (112, 112)
    color_order: ColorOrder = "rgb"
    keys: tuple[str, ...] = ()
    by_name_only: bool = False
    licence: str = "unknown"
    provenance: str | None = None


_LONGEST_LINE = 200

_REGISTRY: dict[str, Backbone] = {}


def register(backbone: Backbone) -> Backbone:
    """Add `backbone` under its name. Raises UsageError when the name is taken."""
    if backbone.name in _REGISTRY:
        message = f"expected a new backbone name, found {backbone.name!r}, which is registered already"
        raise UsageError(message)
    _REGISTRY[backbone.name] = backbone
    return backbone


def backbone_names() -> tuple[str, ...]:
    """The registered names, sorted."""
    return tuple(sorted(_REGISTRY))


def backbones_by_keys(names: Collection[str]) -> tuple[Backbone, ...]:
    """The registered backbones whose `keys` are all in `names`, behind one prefix (`backbone.`) or none.

    By name; those that have to be named come last.
    """
    found = [backbone for backbone in _REGISTRY.values() if _has_keys(names, backbone.keys)]
    return tuple(sorted(found, key=lambda backbone: (backbone.by_name_only, backbone.name)))


def _has_keys(names: Collection[str], keys: tuple[str, ...]) -> bool:
    if not keys:
        return True
    places = [name.removesuffix(keys[0]) for name in names if name.endswith(keys[0])]
    return any(all(place + key in names for key in keys) for place in places if place.endswith(".") or not place)


def find_backbone(name: str) -> Backbone:
    """The backbone of a registered name, or of `package.module:factory`.

    A factory is called without arguments and returns an nn.Module; its attributes `input_mean` and `input_std`
    (three floats each, in pixel units, of R, G and B), where it has them, replace InsightFace's 127.5 and 127.5,
    `input_color_order` ("rgb" or "bgr") says the order of its channels, and `input_size` (height and width, or one
    number for both) the size of its images; `licence` and `provenance` are a line each.
    Raises UsageError when there is no such name, module or factory.
    """
    if ":" in name:
        return _from_factory(name)
    if name not in _REGISTRY:
        message = f"unknown backbone {name!r}: expected one of {', '.join(backbone_names())}, or package.module:factory"
        raise UsageError(message)
    return _REGISTRY[name]


def _from_factory(name: str) -> Backbone:
    module_name, _, attribute = name.partition(":")
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except (Exception, SystemExit) as error:  # the module's own code runs
        found = f"{type(error).__name__}: {error}"
        message = f"cannot find the network {name!r} ({found}); expected package.module:factory on the Python path"
        raise UsageError(message) from error
    if not callable(factory):
        message = f"expected a factory of networks at {name!r}, found {type(factory).__name__}: name a function"
        raise UsageError(message)

    mean, std = _three(factory, "input_mean", name), _three(factory, "input_std", name)
    if min(std) <= 0:
        message = f"expected input_std of {name} above 0, found {std}"
        raise UsageError(message)
    size = getattr(factory, "input_size", None)
    return Backbone(
        name=name,
        build=factory,
        mean=mean,
        std=std,
        size=None if size is None else checked_size(size, name),
        color_order=_color_order(factory, name),
        licence=_line(factory, "licence", name) or "unknown",
        provenance=_line(factory, "provenance", name),
    )


def _line(factory: Any, attribute: str, name: str) -> str | None:
    found = getattr(factory, attribute, None)
    if found is not None and not (isinstance(found, str) and found.isprintable() and 0 < len(found) <= _LONGEST_LINE):
        message = (
            f"expected a line of up to {_LONGEST_LINE} characters as {attribute} of {name}, found {repr(found)[:60]}"
        )
        raise UsageError(message)
    return found


def _three(factory: Any, attribute: str, name: str) -> Triple:
    found = getattr(factory, attribute, (127.5, 127.5, 127.5))
    try:
        one, two, three = map(float, found)
        if not all(map(math.isfinite, (one, two, three))):
            raise ValueError
    except (TypeError, ValueError) as error:
        message = f"expected {attribute} of {name} to be three finite numbers, found {found!r}"
        raise UsageError(message) from error
    return one, two, three


def _color_order(factory: Any, name: str) -> ColorOrder:
    found = getattr(factory, "input_color_order", "rgb")
    if found not in COLOR_ORDERS:
        message = f"expected input_color_order of {name} to be one of {COLOR_ORDERS}, found {repr(found)[:60]}"
        raise UsageError(message)
    order: ColorOrder = found
    return order


def checked_size(size: Any, name: str) -> tuple[int, int]:
    """Height and width from what the network `name` has as `input_size`. Raises UsageError for anything else."""
    sides = (size, size) if type(size) is int else size
    fits = isinstance(sides, tuple | list) and len(sides) == 2
    if not fits or not all(type(side) is int and 0 < side <= LARGEST_SIDE for side in sides):
        message = (
            f"expected height and width, up to {LARGEST_SIDE} pixels, as input_size of {name}, found {repr(size)[:60]}"
        )
        raise UsageError(message)
    return sides[0], sides[1]
