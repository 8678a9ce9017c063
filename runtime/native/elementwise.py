"""Sums, products and functions of single numbers as steps of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.onnx_model import Node
from efq.runtime.native.refusal import refuse
from efq.runtime.native.steps import Draft, Maps, Product, Sum, Table
from efq.runtime.native.values import Levels, Numbers, Pending

Function = Callable[[NDArray[np.float32]], NDArray[Any]]
LARGEST_RATIO = 2.0**20


def add(draft: Draft, name: str, left: Numbers, right: Numbers) -> Pending:
    """The sum of two maps of one size."""
    maps = left.levels.maps
    if _sizes(maps) != _sizes(right.levels.maps):
        refuse(name, "a sum of two sizes")

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        ratio, other_ratio = left.scale / scale, right.scale / scale
        if not max(float(ratio), float(other_ratio)) < LARGEST_RATIO:
            refuse(name, "a scale beyond what bytes can hold")
        other_shift = float(other_ratio * np.float32(right.zero_point))
        shift = np.float32(float(ratio) * left.zero_point + other_shift)
        target = Maps(rows=maps.rows, columns=maps.columns, channels=maps.channels)
        draft.steps.append(
            Sum(
                node=name, target=target, source=maps, other=right.levels.maps, ratio=np.float32(ratio),
                other_ratio=np.float32(other_ratio), fixed=np.float32(zero_point) - shift,
            )
        )  # fmt: skip
        return Levels(target, left.levels.layout)

    return Pending(quantize)


def multiply(draft: Draft, name: str, left: Numbers, right: Numbers) -> Pending:
    """The product of two maps of one size, or of maps and one number a channel."""
    factors = left.scale * right.scale
    if left.levels.maps.size < right.levels.maps.size:
        left, right = right, left
    maps, other = left.levels.maps, right.levels.maps
    if _sizes(other) not in (_sizes(maps), (1, 1, maps.channels)):
        refuse(name, "a product of two sizes")

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        factor = np.float32(factors / scale)
        if not float(factor) * 2**16 < LARGEST_RATIO * 255:
            refuse(name, "a scale beyond what bytes can hold")
        target = Maps(rows=maps.rows, columns=maps.columns, channels=maps.channels)
        draft.steps.append(
            Product(
                node=name, target=target, source=maps, other=other, source_zero_point=left.zero_point,
                other_zero_point=right.zero_point, factor=factor, zero_point=zero_point,
            )
        )  # fmt: skip
        return Levels(target, left.levels.layout)

    return Pending(quantize)


def apply(draft: Draft, name: str, numbers: Numbers, function: Function) -> Pending:
    """A function of each number, which is a table of the bytes."""

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        integers = np.arange(256, dtype=np.float32) - np.float32(numbers.zero_point)
        with np.errstate(all="ignore"):
            values = np.asarray(function(integers * numbers.scale), np.float32)
            levels = np.rint(values / scale) + np.float32(zero_point)
        if not np.isfinite(levels).all():
            refuse(name, "numbers that are not finite")
        return look_up(draft, name, numbers.levels, levels)

    return Pending(quantize)


def requantize(draft: Draft, name: str, numbers: Numbers, scale: np.float32, zero_point: int) -> Levels:
    """The bytes on another grid; on their own they are the same."""
    if (numbers.scale, numbers.zero_point) == (scale, zero_point):
        return numbers.levels
    return apply(draft, name, numbers, lambda values: values).quantize(scale, zero_point)


def look_up(draft: Draft, name: str, levels: Levels, table: NDArray[Any]) -> Levels:
    """A table of the bytes, from 0 to 255."""
    maps = levels.maps
    target = Maps(rows=maps.rows, columns=maps.columns, channels=maps.channels)
    draft.steps.append(Table(node=name, target=target, source=maps, table=np.clip(table, 0, 255).astype(np.uint8)))
    return Levels(target, levels.layout)


def function_of(node: Node, constants: Sequence[object]) -> Function:
    """What an activation computes of float32 numbers. Raises UnsupportedNodeError for slopes by channel."""
    if constants:
        refuse(node.name or node.outputs[0], f"{node.operator} with constants")
    return FUNCTIONS[node.operator](node)


def _leaky(node: Node) -> Function:
    slope = np.float32(node.attributes.get("alpha", 0.01))  # type: ignore[arg-type]
    return lambda values: np.where(values > 0, values, values * slope)


def _between(node: Node) -> Function:
    slope, shift = (np.float32(node.attributes.get(*pair)) for pair in (("alpha", 0.2), ("beta", 0.5)))  # type: ignore[arg-type]
    return lambda values: np.clip(values * slope + shift, np.float32(0), np.float32(1))


def _gelu(node: Node) -> Function:
    if node.attributes.get("approximate", "none") != "none":
        root = math.sqrt(2 / math.pi)
        return lambda values: _wide(values, lambda x: 0.5 * x * (1 + math.tanh(root * (x + 0.044715 * x**3))))
    return lambda values: _wide(values, lambda x: 0.5 * x * (1 + math.erf(x / math.sqrt(2))))


def _wide(values: NDArray[np.float32], function: Callable[[float], float]) -> NDArray[np.float64]:
    """Computed in float64, so that it is the nearest float32 in nearly every case."""
    return np.array([function(value) for value in values.astype(np.float64).tolist()])


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


FUNCTIONS: Mapping[str, Callable[[Node], Function]] = {
    "Gelu": _gelu,
    "HardSigmoid": _between,
    "HardSwish": lambda node: lambda values: _wide(values, lambda x: x * min(max(x + 3, 0.0), 6.0) / 6),
    "LeakyRelu": _leaky,
    "Relu": lambda node: lambda values: np.maximum(values, np.float32(0)),
    "Sigmoid": lambda node: lambda values: _wide(values, _sigmoid),
    "Tanh": lambda node: lambda values: _wide(values, math.tanh),
}


def _sizes(maps: Maps) -> tuple[int, int, int]:
    return maps.rows, maps.columns, maps.channels
