"""The steps of a plan, in the order they are computed: each reads bytes and gives bytes, exactly as defined here.

Maps are uint8 (rows, columns, channels). `plain.py` computes a plan so in NumPy; the kernels of `source/` give the same
bytes. The arithmetic of each step is the integer reference's (`efq.export.references.integer`): sums in int32, one
float32 product and one rounding, half to even, for the way back to bytes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.native.frozen import frozen


@frozen
class Maps:
    """Bytes that a step gives, of one image: uint8 (rows, columns, channels)."""

    rows: int
    columns: int
    channels: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.rows * self.columns * self.channels


class Grid(NamedTuple):
    """Bytes as numbers: (byte - zero_point) * scale."""

    scale: float
    zero_point: int


@frozen
class Window:
    """Where a step's window stands: `edges` are rows above, columns before, rows below, columns behind."""

    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    edges: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    def first(self, axis: int) -> int:
        """Rows above (0) or columns before (1)."""
        return self.edges[axis]

    @property
    def is_single(self) -> bool:
        """One number a channel, each of which is read."""
        return self.kernel == self.strides == (1, 1) and not any(self.edges)


@frozen
class Step:
    """`node` is the name of the graph's operator, for messages."""

    node: str
    target: Maps

    @property
    def sources(self) -> tuple[Maps, ...]:
        """What it reads."""
        return tuple(getattr(self, name) for name in ("source", "other") if getattr(self, name, None) is not None)


@frozen
class Convolution(Step):
    """round(sum * factors) + zero_point, between 0 and 255; sum = bias + sum of (source - source_zero_point) * weights.

    weights: int8 (outputs, rows, columns, inputs of a group); bias: int32, factors: float32 (outputs,).
    """

    source: Maps
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    factors: NDArray[np.float32]
    window: Window
    groups: int
    source_zero_point: int
    zero_point: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return self.target.rows * self.target.columns * self.weights.size


@frozen
class Embedding(Step):
    """float32(sum) * scales, float32 (outputs,), then of unit length; sum as in a convolution that gives one position.

    The length is the root of the sum, in float64 and from first to last, of the squares.
    """

    source: Maps
    weights: NDArray[np.int8]
    bias: NDArray[np.int32]
    factors: NDArray[np.float32]
    source_zero_point: int

    @property
    def multiply_adds(self) -> int:
        """For one image."""
        return self.weights.size


@frozen
class Sum(Step):
    """round(fma(source, ratio, fma(other, other_ratio, fixed))), between 0 and 255; fma rounds once, to float32."""

    source: Maps
    other: Maps
    ratio: np.float32
    other_ratio: np.float32
    fixed: np.float32


@frozen
class Product(Step):
    """round((source - its zero point) * (other - its zero point) * factor + zero_point), between 0 and 255.

    `other` has the source's size, or one number a channel.
    """

    source: Maps
    other: Maps
    source_zero_point: int
    other_zero_point: int
    factor: np.float32
    zero_point: int


@frozen
class Maximum(Step):
    """The larger of two bytes."""

    source: Maps
    other: Maps


@frozen
class Table(Step):
    """table[source], uint8 (256,): any function of one byte."""

    source: Maps
    table: NDArray[np.uint8]


@frozen
class Mean(Step):
    """round(sum of (source - source_zero_point) over all positions * factor) + zero_point, between 0 and 255."""

    source: Maps
    source_zero_point: int
    factor: np.float32
    zero_point: int


@frozen
class MaxPool(Step):
    """The largest byte of each window; what is outside counts for nothing."""

    source: Maps
    window: Window


@frozen
class AveragePool(Step):
    """round(mean / scale) + zero_point, between 0 and 255.

    The mean is the sum of (source - source_zero_point) * source_scale from first to last, over the number of positions,
    those of the padding included with `counts_padding`; each operation in float32.
    """

    source: Maps
    window: Window
    counts_padding: bool
    source_scale: np.float32
    source_zero_point: int
    scale: np.float32
    zero_point: int


@frozen
class Part:
    """A block of a source: its first row and column, every `steps`th of them, and which channels, in their order."""

    source: Maps
    start: tuple[int, int] = (0, 0)
    steps: tuple[int, int] = (1, 1)
    channels: NDArray[np.int32]


@frozen
class Move(Step):
    """Parts beside each other by channels, from row and column `at` on; all around is `filling`."""

    parts: tuple[Part, ...]
    extent: tuple[int, int]
    at: tuple[int, int] = (0, 0)
    filling: int = 0

    @property
    def sources(self) -> tuple[Maps, ...]:
        """What it reads."""
        return tuple(part.source for part in self.parts)


@frozen
class Plan:
    """A network: `images` are its input, uint8 (rows, columns, 3), the last step gives the embedding.

    `reshaped`: maps that are the bytes of others, with other rows, columns and channels. grids: which numbers the graph
    takes bytes for where it reads them as numbers, for formats that say so of every tensor; no step needs them.
    """

    images: Maps
    steps: tuple[Step, ...]
    reshaped: dict[Maps, Maps]
    embedding_size: int
    grids: Mapping[Maps, Set[Grid]] = dataclasses.field(default_factory=dict)

    def place_of(self, maps: Maps) -> Maps:
        """The maps whose bytes these are."""
        while maps in self.reshaped:
            maps = self.reshaped[maps]
        return maps

    @property
    def multiply_adds(self) -> int:
        """Of all layers, for one image: all of them in integers."""
        return sum(step.multiply_adds for step in self.steps if isinstance(step, Convolution | Embedding))


@dataclasses.dataclass(kw_only=True, eq=False, repr=False)
class Draft:
    """A plan that grows while its graph is read, see `Plan`."""

    steps: list[Step] = dataclasses.field(default_factory=list)
    reshaped: dict[Maps, Maps] = dataclasses.field(default_factory=dict)
    grids: dict[Maps, set[Grid]] = dataclasses.field(default_factory=dict)
