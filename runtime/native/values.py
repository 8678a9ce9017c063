"""What a name of a graph stands for while a plan is compiled from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from efq.runtime.native.constants import Constant
from efq.runtime.native.steps import Maps


class Levels(NamedTuple):
    """Bytes, channels last. `layout` is how the graph sees them: channels "last", "first", or "flat"."""

    maps: Maps
    layout: Literal["last", "first", "flat"] = "first"


class Numbers(NamedTuple):
    """Bytes as numbers: (byte - zero_point) * scale."""

    levels: Levels
    scale: np.float32
    zero_point: int


class Pending(NamedTuple):
    """A number that is computed where it is quantized: `quantize` takes the scale and the zero point of its bytes."""

    quantize: Callable[[np.float32, int], Levels]


class Weighted(NamedTuple):
    """A convolution or linear layer that is quantized or, as the last one, an embedding."""

    quantize: Callable[[np.float32, int], Levels]
    embed: Callable[[], None]


class Embedded(NamedTuple):
    """The graph's output."""


Value = Constant | Levels | Numbers | Pending | Weighted | Embedded
