"""Pools and sums over rows and columns."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from efq.toolchain.graph.from_torch.calls import Call
from efq.toolchain.graph.from_torch.context import Context
from efq.toolchain.graph.from_torch.operators.layers import pair
from efq.toolchain.graph.from_torch.student_graph import shape_of
from efq.toolchain.graph.from_torch.views import View
from efq.toolchain.graph.operations import GlobalAveragePool

_MAXIMUM = ("amax", "max")


def max_pool(call: Call, context: Context) -> Any:
    """max_pool2d, and the first output of max_pool2d_with_indices."""
    kernel = pair(call["kernel_size"])
    stride = pair(call["stride"]) if call.get("stride") else kernel
    padding, dilation = pair(call["padding"]), pair(call["dilation"])
    node = context.maps(call["self"], call)
    pool = nn.MaxPool2d(
        *(_short(kernel), _short(stride), _short(padding), _short(dilation)),
        ceil_mode=call["ceil_mode"] and _cuts_windows(call, node, kernel, stride, padding, dilation),
    )
    view = View(_pooled(call, context, pool, node, call.shape[1:]))
    return view if call.operation == "max_pool2d" else (view, None)


def average_pool(call: Call, context: Context) -> View:
    """avg_pool2d; one with a divisor of its own where all windows are whole."""
    kernel = pair(call["kernel_size"])
    stride = pair(call["stride"]) if call.get("stride") else kernel
    padding, divisor = pair(call["padding"]), call.get("divisor_override")
    if divisor and call["ceil_mode"]:
        call.refuse("has a divisor and windows cut off by ceil_mode: use one of them")
    source = context.maps(call["self"], call)
    pool = nn.AvgPool2d(
        *(_short(kernel), _short(stride), _short(padding)),
        ceil_mode=call["ceil_mode"] and _cuts_windows(call, source, kernel, stride, padding, (1, 1)),
        count_include_pad=bool(call["count_include_pad"] or divisor),
    )
    node = _pooled(call, context, pool, source, call.shape[1:])
    return context.affine(call, View(node), kernel[0] * kernel[1] / divisor, 0.0) if divisor else View(node)


def adaptive_pool(call: Call, context: Context) -> Any:
    """adaptive_avg_pool2d and adaptive_max_pool2d where all of its windows have one size and stride."""
    node = context.maps(call["self"], call)
    _, height, width = shape_of(node)
    wanted = call.shape[1:]
    average = "avg" in call.operation
    if average and wanted[1:] == (1, 1):
        return View(_pooled(call, context, GlobalAveragePool(), node, wanted))
    windows = [_windows(size, count) for size, count in ((height, wanted[1]), (width, wanted[2]))]
    if any(window is None for window in windows) and average:
        uneven = nn.AdaptiveAvgPool2d(wanted[1:])  # until a rewrite finds the linear layer that it can be in
        return View(_pooled(call, context, uneven, node, wanted))
    if any(window is None for window in windows):
        call.refuse(f"has windows of several sizes on maps of {height}x{width}: use a size that divides them")
    (rows, down), (columns, across) = [window for window in windows if window is not None]
    kind = nn.AvgPool2d if average else nn.MaxPool2d
    pool = kind(_short((rows, columns)), _short((down, across)))
    view = View(node) if (rows, columns) == (1, 1) else View(_pooled(call, context, pool, node, wanted))
    return view if average else (view, None)


def _windows(size: int, count: int) -> tuple[int, int] | None:
    """Size and stride of the windows that go from floor(i * size / count) to ceil((i + 1) * size / count)."""
    starts = [place * size // count for place in range(count)]
    ends = [-((place + 1) * size // -count) for place in range(count)]
    lengths = {end - start for start, end in zip(starts, ends, strict=True)}
    steps = {after - before for before, after in itertools.pairwise(starts)} or {size}
    return (lengths.pop(), steps.pop()) if len(lengths) == len(steps) == 1 else None


def reduce(call: Call, context: Context) -> Any:
    """mean, sum and amax over rows, columns or both, wherever the network's code has them."""
    view: View = call["self"]
    rank = len(view.shape) + 1
    axes = call.get("dim")
    axes = [axes] if isinstance(axes, int) else list(axes or range(rank))
    over = sorted(axis % rank for axis in axes)
    if 0 in over:
        call.refuse("computes over all images together: expected it to keep them apart")
    if call.get("dtype") is not None and not call["dtype"].is_floating_point:
        call.refuse()
    node, window = _spatial(view, over, call, context)
    channels, height, width = shape_of(node)
    shape = (channels, 1 if window[0] else height, 1 if window[1] else width)
    size = (height if window[0] else 1, width if window[1] else 1)
    whole = all(window) and call.operation not in _MAXIMUM
    kind = nn.MaxPool2d if call.operation in _MAXIMUM else nn.AvgPool2d
    pooled = _pooled(call, context, GlobalAveragePool() if whole else kind(_short(size)), node, shape)
    if call.operation == "sum":
        pooled = context.affine(
            dataclasses.replace(call, shape=(context.batch, *shape)), View(pooled), float(math.prod(size)), 0.0
        ).source
    places = View(pooled).all_places().reshape(2, *call.shape[1:])
    result = View(pooled) if places.shape[1:] == shape else View(pooled, places, call.node)
    return (result, None) if call.operation == "max" else result


def _spatial(view: View, over: list[int], call: Call, context: Context) -> tuple[fx.Node, tuple[bool, bool]]:
    """Maps whose rows, columns or both are what `over`, axes of `view`, holds."""
    places = view.all_places()
    kept = [axis for axis in range(1, places.dim()) if axis not in over]
    source = shape_of(view.source)
    count = math.prod(view.shape[axis - 1] for axis in over)
    ordered = places.permute(0, *kept, *over)
    rest = math.prod(view.shape[axis - 1] for axis in kept)
    forms: list[tuple[tuple[int, int, int], tuple[bool, bool], Any]] = []
    if len(source) == 3 and count == source[1] * source[2]:
        forms.append(((rest, source[1], source[2]), (True, True), ordered))
    elif len(kept) == 1 and len(over) == 2:
        forms.append(((rest, view.shape[over[0] - 1], view.shape[over[1] - 1]), (True, True), ordered))
    elif len(kept) == 2 and len(over) == 1 and kept[0] == 1:
        rows = over[0] == 2
        sizes = (view.shape[0], view.shape[1], view.shape[2])
        forms.append((sizes, (rows, not rows), places))
    if not forms or not call.shape[1:]:
        axes = ", ".join(map(str, over))
        call.refuse(f"computes over the axes {axes} of a tensor of {(1, *view.shape)}: expected its rows and columns")
    shape, window, moved = forms[0]
    moved = moved.reshape(len(places), *shape)
    plain = View(view.source).all_places()
    whole = moved.shape == plain.shape and bool((moved == plain).all())
    return context.maps(View(view.source, None if whole else moved, view.moved_by or call.node), call), window


def _cuts_windows(call: Call, source: fx.Node, *window: tuple[int, int]) -> bool:
    """Whether ceil_mode adds windows: torch drops those that would begin in the padding behind the map."""
    _, *sizes = shape_of(source)
    whole = [
        (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
        for size, kernel, stride, padding, dilation in zip(sizes, *window, strict=True)
    ]
    return tuple(whole) != tuple(call.shape[2:])


def _pooled(call: Call, context: Context, pool: nn.Module, node: fx.Node, shape: tuple[int, ...]) -> fx.Node:
    return context.graph.call(call.node, pool, (node,), shape)


def _short(size: tuple[int, int]) -> int | tuple[int, int]:
    """One number where rows and columns have the same."""
    return size[0] if size[0] == size[1] else size


POOLING: dict[str, Callable[[Call, Context], Any]] = {
    **dict.fromkeys(("max_pool2d", "max_pool2d_with_indices"), max_pool),
    "avg_pool2d": average_pool,
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"), adaptive_pool),
    **dict.fromkeys(("mean", "sum", "amax", "max"), reduce),
}
