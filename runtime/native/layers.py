"""Convolutions, linear layers and pools as steps of a plan."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.graph_values import integers
from efq.runtime.artifact.onnx_model import Node
from efq.runtime.native.constants import Quantized
from efq.runtime.native.refusal import refuse
from efq.runtime.native.steps import AveragePool, Convolution, Draft, Embedding, Maps, MaxPool, Mean, Window
from efq.runtime.native.values import Levels, Numbers, Pending, Weighted

LARGEST_SUM = 2**31 - 1
LARGEST_LEVEL = 2.0**30
"""Of a sum times its factor: beyond it the way back to int32 would not be defined."""


class Layer(NamedTuple):
    """A convolution's constants: weights (outputs, inputs of a group, rows, columns)."""

    weights: Quantized
    bias: Quantized | None
    window: Window
    groups: int


def window_of(node: Node, weights: Quantized) -> Window:
    """That of a convolution."""
    _, _, rows, columns = weights.integers.shape
    return _window(node, (rows, columns))


def weighted(draft: Draft, name: str, numbers: Numbers, layer: Layer) -> Weighted:
    """The convolution of `numbers`, to be quantized or to be the embedding."""
    source = numbers.levels.maps
    bias = _bias(name, layer, numbers.scale)
    largest = _largest_sums(name, layer.weights.integers, bias)
    scales = (numbers.scale * layer.weights.scales).astype(np.float32)
    outputs = len(scales)
    rows, columns = _positions(name, source, layer.window)
    weights = np.ascontiguousarray(layer.weights.integers.transpose(0, 2, 3, 1))

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        factors = (scales / scale).astype(np.float32)
        _check_factors(name, largest, factors)
        target = Maps(rows=rows, columns=columns, channels=outputs)
        draft.steps.append(
            Convolution(
                node=name, target=target, source=source, weights=weights, bias=bias, factors=factors,
                window=layer.window, groups=layer.groups, source_zero_point=numbers.zero_point, zero_point=zero_point,
            )
        )  # fmt: skip
        return Levels(target)

    def embed() -> None:
        if (rows, columns, layer.groups) != (1, 1, 1) or layer.window.kernel != (source.rows, source.columns):
            refuse(name, "an embedding that is no linear layer")
        target = Maps(rows=1, columns=1, channels=outputs)
        draft.steps.append(
            Embedding(
                node=name, target=target, source=source, weights=weights, bias=bias, factors=scales,
                source_zero_point=numbers.zero_point,
            )
        )  # fmt: skip

    return Weighted(quantize, embed)


def linear(draft: Draft, name: str, numbers: Numbers, weights: Quantized, bias: Quantized | None) -> Weighted:
    """A convolution whose kernel is as large as its input, which was flattened channel by channel."""
    maps = numbers.levels.maps
    shape = (len(weights.scales), maps.channels, maps.rows, maps.columns)
    if weights.integers.size != math.prod(shape):
        refuse(name, f"weights of the shape {weights.integers.shape} for {maps.size:,} inputs")
    kernel = Quantized(weights.integers.reshape(shape), weights.scales)
    return weighted(draft, name, numbers, Layer(kernel, bias, Window(kernel=(maps.rows, maps.columns)), 1))


def mean(draft: Draft, name: str, numbers: Numbers) -> Pending:
    """GlobalAveragePool."""
    source = numbers.levels.maps

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        factor = numbers.scale / (scale * np.float32(source.rows * source.columns))
        _check_scale(name, float(factor) * 255 * source.rows * source.columns)
        target = Maps(rows=1, columns=1, channels=source.channels)
        draft.steps.append(
            Mean(
                node=name, target=target, source=source, source_zero_point=numbers.zero_point,
                factor=np.float32(factor), zero_point=zero_point,
            )
        )  # fmt: skip
        return Levels(target)

    return Pending(quantize)


def average_pool(draft: Draft, node: Node, name: str, numbers: Numbers) -> Pending:
    """AveragePool."""
    window, source = _pool_window(node, name), numbers.levels.maps
    rows, columns = _positions(name, source, window)

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        _check_scale(name, float(numbers.scale) / float(scale) * 255 * math.prod(window.kernel))
        target = Maps(rows=rows, columns=columns, channels=source.channels)
        draft.steps.append(
            AveragePool(
                node=name, target=target, source=source, window=window,
                counts_padding=bool(node.attributes.get("count_include_pad", 0)), source_scale=numbers.scale,
                source_zero_point=numbers.zero_point, scale=scale, zero_point=zero_point,
            )
        )  # fmt: skip
        return Levels(target)

    return Pending(quantize)


def max_pool(draft: Draft, node: Node, name: str, numbers: Numbers) -> Numbers:
    """MaxPool, on the bytes."""
    window, source = _pool_window(node, name), numbers.levels.maps
    rows, columns = _positions(name, source, window)
    target = Maps(rows=rows, columns=columns, channels=source.channels)
    draft.steps.append(MaxPool(node=name, target=target, source=source, window=window))
    return Numbers(Levels(target), numbers.scale, numbers.zero_point)


def _window(node: Node, kernel: tuple[int, int]) -> Window:
    strides, dilations = (integers(node, key, (1, 1)) for key in ("strides", "dilations"))
    above, before, below, behind = integers(node, "pads", (0, 0, 0, 0))
    return Window(
        kernel=kernel,
        strides=(strides[0], strides[1]),
        edges=(above, before, below, behind),
        dilations=(dilations[0], dilations[1]),
    )


def _pool_window(node: Node, name: str) -> Window:
    if node.attributes.get("ceil_mode", 0):
        refuse(name, f"{node.operator} with ceil_mode")
    rows, columns = integers(node, "kernel_shape", ())
    return _window(node, (rows, columns))


def _positions(name: str, source: Maps, window: Window) -> tuple[int, int]:
    found = []
    for axis, size in enumerate((source.rows, source.columns)):
        extent = window.dilations[axis] * (window.kernel[axis] - 1) + 1
        rest = size + window.edges[axis] + window.edges[axis + 2] - extent
        if rest < 0:
            refuse(name, f"a window of {extent} for {size} positions")
        found.append(rest // window.strides[axis] + 1)
    return found[0], found[1]


def _bias(name: str, layer: Layer, scale: np.float32) -> NDArray[np.int32]:
    outputs = len(layer.weights.scales)
    if layer.bias is None:
        return np.zeros(outputs, np.int32)
    if not np.array_equal(layer.bias.scales, (scale * layer.weights.scales).astype(np.float32)):
        refuse(name, "a bias whose scale is not that of the sums")
    return np.ascontiguousarray(layer.bias.integers, np.int32)


def _largest_sums(name: str, weights: NDArray[np.int8], bias: NDArray[np.int32]) -> NDArray[np.int64]:
    """A bound of each output's sum, of any part of it, and of its bias with a zero point folded in: within int32."""
    magnitudes = np.abs(weights.astype(np.int16)).reshape(len(bias), -1).sum(1, dtype=np.int64)
    largest: NDArray[np.int64] = 2 * 255 * magnitudes + np.abs(bias.astype(np.int64))
    if int(largest.max()) > LARGEST_SUM:
        refuse(name, f"sums of up to {int(largest.max()):,}, beyond 32 bits,")
    return largest


def _check_factors(name: str, largest: NDArray[np.int64], factors: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        levels = largest * factors.astype(np.float64)
    if not (np.isfinite(factors).all() and (factors >= 0).all() and float(levels.max()) < LARGEST_LEVEL):
        refuse(name, "a scale beyond what bytes can hold")


def _check_scale(name: str, largest: float) -> None:
    if not largest < LARGEST_LEVEL:
        refuse(name, "a scale beyond what bytes can hold")
