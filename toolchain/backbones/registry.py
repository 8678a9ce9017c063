"""The backbones EFQ knows by name, and any other network through `package.module:factory`."""

from __future__ import annotations

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.errors import UsageError

Triple = tuple[float, float, float]
Weights = Mapping[str, Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Backbone:
    """A float network by name.

    `build(**arguments)` makes the module: float32 (N, 3, 112, 112) normalized RGB in, (N, d) raw embeddings out.
    The input is (pixel - mean) / std for pixels in 0..255. `size` is its height and width; None where that is not
    known, or where the built module's own `input_size` says it. `arguments_of` reads the arguments of `build` off a
    state dict, so that one name covers every embedding size and width. `licence` is that of the weights it is published
    with, `provenance` a line on what they were trained on.
    """

    name: str
    build: Callable[..., nn.Module]
    mean: Triple = (127.5, 127.5, 127.5)
    std: Triple = (127.5, 127.5, 127.5)
    arguments_of: Callable[[Weights], dict[str, Any]] = lambda weights: {}
    size: tuple[int, int] | None = (112, 112)
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


def find_backbone(name: str) -> Backbone:
    """The backbone of a registered name, or of `package.module:factory`.

    A factory is called without arguments and returns an nn.Module; its attributes `input_mean` and `input_std`
    (three floats each, in pixel units), where it has them, replace InsightFace's 127.5 and 127.5, and `input_size`
    (height and width, or one number for both) says the size of its images; `licence` and `provenance` are a line each.
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
