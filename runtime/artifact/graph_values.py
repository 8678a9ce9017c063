"""The values of a graph that is checked, and what its rules are written with."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from efq.runtime.artifact.onnx_model import FLOAT, FLOAT16, INT64, Node, Tensor

IMAGES = "the graph's input"
"""The origin of the images, where that of other values is an operator."""

SURFACE = "the graph's surface"
"""The origin of images that are no bytes with their channels last, until they are: see `efq.export.surface`."""

PIXELS = "the images as numbers"
"""The origin of what the first operator gives, where that is a DequantizeLinear."""

FLOATS = (FLOAT, FLOAT16)


class GraphError(ValueError):
    """What keeps a graph from being one of EFQ's."""


class Activation(NamedTuple):
    """A value that differs by image: `shape` is that of one image, the batch comes first; `origin` what gave it."""

    dtype: int
    shape: tuple[int, ...]
    origin: str


class Constant(NamedTuple):
    """A value that does not; `tensor` where it is an initializer, None for what a runtime computes at load."""

    dtype: int
    shape: tuple[int, ...]
    tensor: Tensor | None = None


Value = Activation | Constant


def expect(condition: bool, otherwise: str) -> None:
    """Raise GraphError saying what was found `otherwise`."""
    if not condition:
        raise GraphError(otherwise)


def expect_positive(scale: Value) -> None:
    """Check that it is one finite number above zero. Raises GraphError."""
    tensor = scale.tensor if isinstance(scale, Constant) else None
    expect(tensor is not None and scale.shape == (), "a scale that is no stored number")
    assert tensor is not None
    (number,) = struct.unpack("<f" if scale.dtype == FLOAT else "<e", tensor.raw)
    expect(math.isfinite(number) and number > 0, f"a scale of {number}")


def integer(node: Node, name: str, default: int) -> int:
    """An attribute whose type is known to be a whole number."""
    value = node.attributes.get(name, default)
    assert isinstance(value, int)
    return value


def integers(node: Node, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute whose type is known to be a list of whole numbers."""
    value = node.attributes.get(name, default)
    assert isinstance(value, tuple)
    return value


def numbers(value: Value, count: int) -> tuple[int, ...]:
    """The int64 numbers of an initializer that holds `count`. Raises GraphError for any other value."""
    tensor = value.tensor if isinstance(value, Constant) else None
    expect(tensor is not None and (value.dtype, value.shape) == (INT64, (count,)), f"no {count} stored whole numbers")
    assert tensor is not None
    return struct.unpack(f"<{count}q", tensor.raw)
