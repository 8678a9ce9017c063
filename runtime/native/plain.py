"""A plan computed in NumPy: slow, and the definition of what the kernels give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.native.steps import (
    AveragePool,
    Convolution,
    Embedding,
    Maps,
    Maximum,
    MaxPool,
    Mean,
    Move,
    Plan,
    Product,
    Step,
    Sum,
    Table,
    Window,
)

Bytes = NDArray[np.uint8]
Compute = Callable[[Any, list[Bytes]], Bytes]


def run_plain(
    plan: Plan,
    images: Bytes,
    seen: Callable[[Maps, Bytes], None] = lambda maps, found: None,
    *,
    steps: Mapping[type[Step], Compute] | None = None,
) -> NDArray[np.float32]:
    """Images uint8 (N, rows, columns, 3) to embeddings float32 (N, d); `seen` is given what each step gives.

    `steps` by kind, for a runtime that computes some otherwise; None takes `STEPS`, as they are defined.
    """
    compute = STEPS if steps is None else steps
    values: dict[Maps, Bytes] = {plan.images: images}

    def read(maps: Maps) -> Bytes:
        shape = (len(images), maps.rows, maps.columns, maps.channels)
        return values[plan.place_of(maps)].reshape(shape)

    for step in plan.steps:
        if isinstance(step, Embedding):
            return _embedding(step, read(step.source))
        values[step.target] = compute[type(step)](step, [read(source) for source in step.sources])
        seen(step.target, values[step.target])
    message = "a plan without an embedding"
    raise AssertionError(message)


def _sums(step: Convolution | Embedding, source: Bytes, window: Window, groups: int) -> NDArray[np.float64]:
    """Exact: every sum is below 2^31."""
    integers = source.astype(np.float64) - step.source_zero_point
    outputs, rows, columns, inputs = step.weights.shape
    weights = step.weights.astype(np.float64).reshape(groups, outputs // groups, rows, columns, inputs)
    total: Any = step.bias.astype(np.float64)
    for row, column, seen in _windows(integers, window, 0.0):
        parts = seen.reshape(*seen.shape[:3], groups, inputs)
        if inputs == 1:
            found = parts * weights[:, :, row, column, 0]
        else:
            found = np.stack([parts[..., g, :] @ weights[g, :, row, column].T for g in range(groups)], 3)
        total = total + found.reshape(*seen.shape[:3], outputs)
    return np.asarray(total)


def _windows(values: NDArray[Any], window: Window, filling: float) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """For each row and column of the kernel what it sees at each position."""
    above, before, below, behind = window.edges
    padded = np.pad(values, ((0, 0), (above, below), (before, behind), (0, 0)), constant_values=filling)
    sizes = [padded.shape[axis + 1] - window.dilations[axis] * (window.kernel[axis] - 1) for axis in (0, 1)]
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            top, left = row * window.dilations[0], column * window.dilations[1]
            yield (
                row,
                column,
                padded[:, top : top + sizes[0] : window.strides[0], left : left + sizes[1] : window.strides[1]],
            )


def _bytes(levels: NDArray[np.float32], zero_point: int) -> Bytes:
    found: Bytes = np.clip(np.rint(levels) + zero_point, 0, 255).astype(np.uint8)
    return found


def _convolution(step: Convolution, source: Bytes) -> Bytes:
    sums = _sums(step, source, step.window, step.groups)
    return _bytes(sums.astype(np.float32) * step.factors, step.zero_point)


def _embedding(step: Embedding, source: Bytes) -> NDArray[np.float32]:
    kernel = (int(step.weights.shape[1]), int(step.weights.shape[2]))
    sums = _sums(step, source, Window(kernel=kernel), 1)[:, 0, 0]
    values = sums.astype(np.float32) * step.factors
    squares = np.cumsum(values.astype(np.float64) ** 2, axis=1)[:, -1:]
    lengths = np.where(squares > 0, np.sqrt(squares), 1.0)
    return (values / lengths).astype(np.float32)


def _sum(step: Sum, source: Bytes, other: Bytes) -> Bytes:
    inner = (other.astype(np.float64) * float(step.other_ratio) + float(step.fixed)).astype(np.float32)
    outer = (source.astype(np.float64) * float(step.ratio) + inner.astype(np.float64)).astype(np.float32)
    found: Bytes = np.clip(np.rint(outer), 0, 255).astype(np.uint8)
    return found


def _product(step: Product, source: Bytes, other: Bytes) -> Bytes:
    left = source.astype(np.float32) - np.float32(step.source_zero_point)
    right = other.astype(np.float32) - np.float32(step.other_zero_point)
    levels = left * right * step.factor + np.float32(step.zero_point)
    found: Bytes = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return found


def _mean(step: Mean, source: Bytes) -> Bytes:
    sums = (source.astype(np.int64) - step.source_zero_point).sum((1, 2), keepdims=True)
    return _bytes(sums.astype(np.float32) * step.factor, step.zero_point)


def _max_pool(step: MaxPool, source: Bytes) -> Bytes:
    return np.asarray(np.maximum.reduce([seen for _, _, seen in _windows(source, step.window, 0)]))


def _average_pool(step: AveragePool, source: Bytes) -> Bytes:
    values = (source.astype(np.float32) - np.float32(step.source_zero_point)) * step.source_scale
    total: Any = np.float32(0)
    count: Any = np.float32(0)
    for _, _, seen in _windows(values, step.window, 0.0):
        total = total + seen
    inside = 1.0 if step.counts_padding else 0.0
    for _, _, seen in _windows(np.ones_like(values[:1]), step.window, inside):
        count = count + seen
    return _bytes(total / count / step.scale, step.zero_point)


def _move(step: Move, *sources: Bytes) -> Bytes:
    (rows, columns), (top, left) = step.extent, step.at
    target = step.target
    found = np.full((len(sources[0]), target.rows, target.columns, target.channels), step.filling, np.uint8)
    blocks = []
    for part, source in zip(step.parts, sources, strict=True):
        (first_row, first_column), (row_step, column_step) = part.start, part.steps
        block = source[:, first_row::row_step, first_column::column_step][:, :rows, :columns]
        blocks.append(block[..., part.channels])
    found[:, top : top + rows, left : left + columns] = np.concatenate(blocks, 3)
    return found


STEPS: Mapping[type[Step], Compute] = {
    Convolution: lambda step, sources: _convolution(step, *sources),
    Sum: lambda step, sources: _sum(step, *sources),
    Product: lambda step, sources: _product(step, *sources),
    Maximum: lambda step, sources: np.maximum(*sources),
    Table: lambda step, sources: step.table[sources[0]],
    Mean: lambda step, sources: _mean(step, *sources),
    MaxPool: lambda step, sources: _max_pool(step, *sources),
    AveragePool: lambda step, sources: _average_pool(step, *sources),
    Move: lambda step, sources: _move(step, *sources),
}
