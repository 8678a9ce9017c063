"""Steps joined into layers that a kernel computes without writing what is in between: the same bytes.

A convolution takes in the exact PReLU behind it (max(x, a * x) on bytes, docs/decisions/0009), a clamp, and the
residual sum; the stem that was written for several pixels at a time becomes one of single pixels again.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from efq.runtime.native.frozen import frozen
from efq.runtime.native.steps import Convolution, Maps, Maximum, Plan, Step, Sum, Table, Window

_BYTES = np.arange(256)
_NEIGHBOURS = 8  # float32 numbers on either side of a product that are tried in its place


@frozen
class Layer(Step):
    """A convolution with what follows it: r = round(sum * factors), at least -zero_point; with slopes then
    round(max(r, r * slopes)); r + zero_point, between 0 and `highest`; then the sum, between 0 and `sum_highest`.

    slopes: float32 (outputs,). `is_source`: whether this is the sum's `source`, and the other map its `other`.
    """

    convolution: Convolution
    slopes: NDArray[np.float32] | None = None
    highest: int = 255
    sum: Sum | None = None
    is_source: bool = True
    sum_highest: int = 255

    @property
    def other(self) -> Maps | None:
        """The map that is added."""
        if self.sum is None:
            return None
        return self.sum.other if self.is_source else self.sum.source

    @property
    def sources(self) -> tuple[Maps, ...]:
        """What it reads."""
        return (self.convolution.source,) if self.other is None else (self.convolution.source, self.other)


def fuse(plan: Plan) -> Plan:
    """The plan with as few steps as its bytes allow."""
    plan = dataclasses.replace(plan, reshaped=dict(plan.reshaped))
    readers: dict[Maps, list[Step]] = collections.defaultdict(list)
    for step in plan.steps:
        for source in step.sources:
            readers[plan.place_of(source)].append(step)
    made: set[Maps] = {plan.images}
    taken: set[Step] = set()
    steps: list[Step] = []
    for step in plan.steps:
        if step in taken:
            continue
        if isinstance(step, Convolution):
            step = _grow(plan, _single_pixels(plan, step), readers, made, taken)
        steps.append(step)
        made.add(plan.place_of(step.target))
    return dataclasses.replace(plan, steps=tuple(steps))


def _grow(
    plan: Plan, convolution: Convolution, readers: dict[Maps, list[Step]], made: set[Maps], taken: set[Step]
) -> Layer:
    layer = Layer(node=convolution.node, target=convolution.target, convolution=convolution)
    while True:
        grown = _grown(plan, layer, readers[plan.place_of(layer.target)], readers, made)
        if grown is None:
            return layer
        layer, steps = grown
        taken.update(steps)


def _grown(
    plan: Plan, layer: Layer, behind: list[Step], readers: dict[Maps, list[Step]], made: set[Maps]
) -> tuple[Layer, tuple[Step, ...]] | None:
    """The layer with what is behind it taken in, and the steps that it stands for then."""
    if len(behind) == 2 and layer.slopes is None and layer.highest == 255 and layer.sum is None:
        slopes, maximum = behind
        if isinstance(slopes, Convolution) and isinstance(maximum, Maximum) and readers[slopes.target] == [maximum]:
            found = _slopes(layer.convolution, slopes)
            if found is not None:
                return dataclasses.replace(layer, target=maximum.target, slopes=found), (slopes, maximum)
    if len(behind) != 1:
        return None
    (step,) = behind
    if isinstance(step, Table) and np.array_equal(step.table, np.minimum(_BYTES, step.table.max())):
        highest = int(step.table.max())
        if layer.sum is None:
            return dataclasses.replace(layer, target=step.target, highest=min(layer.highest, highest)), (step,)
        return dataclasses.replace(layer, target=step.target, sum_highest=min(layer.sum_highest, highest)), (step,)
    if isinstance(step, Sum) and layer.sum is None and step.source is not step.other:
        is_source = plan.place_of(step.source) is plan.place_of(layer.target)
        other = step.other if is_source else step.source
        if plan.place_of(other) in made:
            return dataclasses.replace(layer, target=step.target, sum=step, is_source=is_source), (step,)
    return None


def _slopes(convolution: Convolution, slopes: Convolution) -> NDArray[np.float32] | None:
    """Numbers c with which round(max(r, r * c)) gives the maximum's byte for each r of each channel, None without."""
    outputs, rows, columns, inputs = slopes.weights.shape
    grid = (slopes.source_zero_point, slopes.zero_point)
    is_single = slopes.window.is_single and (rows, columns, inputs, slopes.groups) == (1, 1, 1, outputs)
    if not is_single or len(convolution.bias) % outputs or grid != (convolution.zero_point,) * 2:
        return None
    weights = slopes.weights.reshape(-1)
    product = (weights * slopes.factors).astype(np.float32)
    levels, highest = _levels(convolution.zero_point, of_all=bool(slopes.bias.any() or product.max() > 1))
    wanted = _levels_behind(slopes, weights, levels, highest)
    found, left = product.copy(), np.arange(outputs)
    for tried in _near(product):
        fits = _fits(tried[left], levels, highest, wanted[left])
        found[left[fits]] = tried[left[fits]]
        left = left[~fits]
        if not len(left):
            return np.tile(found, len(convolution.bias) // outputs)
    return None


def _near(numbers: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    """The numbers, and the float32 numbers next to them, nearest first."""
    yield numbers
    below = above = numbers
    for _ in range(_NEIGHBOURS):
        below, above = (np.nextafter(below, np.float32(-np.inf)), np.nextafter(above, np.float32(np.inf)))
        yield below
        yield above


def _levels(zero_point: int, *, of_all: bool) -> tuple[NDArray[np.float32], np.float32]:
    """Bytes less their zero point, and the highest of them; not `of_all` those below zero alone.

    Without a bias and with no slope above 1, one of zero and more is its own maximum, whatever is tried near its slope.
    """
    levels = (_BYTES - zero_point).astype(np.float32)
    return levels if of_all else levels[:zero_point], levels[-1]


def _levels_behind(
    slopes: Convolution, weights: NDArray[np.int8], levels: NDArray[np.float32], highest: np.float32
) -> NDArray[np.float32]:
    """For each channel and level the larger of the level and its product, (outputs, levels)."""
    if slopes.bias.any():
        sums = levels.astype(np.float64) * weights[:, np.newaxis] + slopes.bias[:, np.newaxis]  # exact
        found = sums.astype(np.float32)
    else:
        found = levels * weights.astype(np.float32)[:, np.newaxis]
    np.multiply(found, slopes.factors[:, np.newaxis], out=found)
    np.rint(found, out=found)
    return _between(levels, found, highest)


def _fits(
    slopes: NDArray[np.float32], levels: NDArray[np.float32], highest: np.float32, wanted: NDArray[np.float32]
) -> NDArray[np.bool_]:
    found = levels * slopes[:, np.newaxis]
    np.rint(found, out=found)
    return np.asarray((_between(levels, found, highest) == wanted).all(1))


def _between(levels: NDArray[np.float32], found: NDArray[np.float32], highest: np.float32) -> NDArray[np.float32]:
    """`found` in its place, as these are the largest arrays of a start: at least `levels`, which no byte is below."""
    np.maximum(levels, found, out=found)
    return np.minimum(found, highest, out=found)


def _single_pixels(plan: Plan, convolution: Convolution) -> Convolution:
    """A stem on several pixels at a time (decision 11) as one on bytes: a position is one output column.

    Its outputs are those of so many neighbouring columns, whose weights are the same at places of their own.
    """
    if convolution.source not in plan.reshaped or convolution.groups != 1:
        return convolution
    views = [maps for maps, origin in plan.reshaped.items() if origin is convolution.target]
    outputs, rows, columns, inputs = convolution.weights.shape
    if len(views) != 1 or outputs % views[0].channels or convolution.window.dilations != (1, 1):
        return convolution
    (view,) = views
    parts, width = outputs // view.channels, columns * inputs
    step, rest = divmod(convolution.window.strides[1] * inputs, parts)
    source, window = plan.place_of(convolution.source), convolution.window
    kernels = convolution.weights.reshape(parts, view.channels, rows, width)
    (used,) = np.nonzero(kernels[0].any((0, 1)))
    if rest or parts == 1 or not len(used) or source is not plan.images:
        return convolution
    first, size = int(used[0]), int(used[-1]) + 1 - int(used[0])
    before = window.edges[1] * inputs - first
    if before < 0 or first + (parts - 1) * step + size > width:
        return convolution
    for part, kernel in enumerate(kernels):
        moved = np.zeros_like(kernel)
        moved[..., first + part * step : first + part * step + size] = kernels[0][..., first : first + size]
        alike = all(
            np.array_equal(values[: view.channels], values[part * view.channels : (part + 1) * view.channels])
            for values in (convolution.bias, convolution.factors)
        )
        if not (alike and np.array_equal(kernel, moved)):
            return convolution
    line = Maps(rows=source.rows, columns=source.columns * source.channels, channels=1)
    behind = max(0, (view.columns - 1) * step + size - before - line.columns)
    plan.reshaped[line] = source
    return dataclasses.replace(
        convolution,
        source=line,
        target=view,
        weights=np.ascontiguousarray(kernels[0][..., first : first + size].reshape(view.channels, rows, size, 1)),
        bias=convolution.bias[: view.channels],
        factors=convolution.factors[: view.channels],
        window=Window(
            kernel=(rows, size),
            strides=(window.strides[0], step),
            edges=(window.edges[0], before, window.edges[2], behind),
        ),
    )
