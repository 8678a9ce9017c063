"""Convolutions and the embedding in LiteRT's operators."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.export.targets.litert.graph import SIGN, LiteRtGraph, signed
from efq.export.targets.litert.grids import refuse
from efq.runtime.backends.model import OUTPUT_NAME
from efq.runtime.native.steps import AveragePool, Convolution, Embedding, Grid, Maps, Window

SAME, VALID = 0, 1
_NO_ACTIVATION = 0
_MOST_ULPS = 8


def write_convolution(graph: LiteRtGraph, step: Convolution) -> int:
    """CONV_2D or DEPTHWISE_CONV_2D, behind a PAD where LiteRT's own two ways of padding are others."""
    source, grid, target_grid = graph.read(step.source), graph.grid(step.source), graph.grid(step.target)
    if (grid.zero_point, target_grid.zero_point) != (step.source_zero_point, step.zero_point):
        refuse(step.node, "zero points that are not those of its maps")
    scales = weight_scales(step.factors, grid, target_grid)
    source, padding = padded(graph, step.node, source, step.source, step.target, step.window)
    outputs, rows, columns, inputs = step.weights.shape
    options: dict[str, Any] = _options(step.window, padding)
    is_depthwise = inputs == 1 and step.groups == step.source.channels > 1
    if is_depthwise:
        kernel = step.weights.reshape(outputs, rows, columns).transpose(1, 2, 0)[np.newaxis]
        operator, table, axis = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", 3
        options["depthMultiplier"] = outputs // step.groups
    else:
        kernel, operator, table, axis = step.weights, "CONV_2D", "Conv2DOptions", 0
    weights = graph.file.constant(f"{step.node}/weights", kernel, scales=scales, axis=axis)
    bias = graph.file.constant(f"{step.node}/bias", step.bias, scales=np.float32(grid.scale) * scales)
    return graph.file.operator(
        operator, [source, weights, bias], graph.target(step), version=3 if is_depthwise or step.groups == 1 else 6,
        options=table, **options,
    )  # fmt: skip


def write_average_pool(graph: LiteRtGraph, step: AveragePool) -> int:
    """As a depthwise convolution with weights of 1: LiteRT's own average keeps the grid, and rounds otherwise."""
    if any(step.window.edges) and not step.counts_padding:
        refuse(step.node, "an average that does not count its padding")
    channels, positions = step.source.channels, step.window.kernel[0] * step.window.kernel[1]
    factor = np.float32(step.source_scale) / (step.scale * np.float32(positions))
    convolution = Convolution(
        node=step.node, target=step.target, source=step.source, window=step.window, groups=channels,
        weights=np.ones((channels, *step.window.kernel, 1), np.int8), bias=np.zeros(channels, np.int32),
        factors=np.full(channels, factor, np.float32), source_zero_point=step.source_zero_point,
        zero_point=step.zero_point,
    )  # fmt: skip
    return write_convolution(graph, convolution)


def write_embedding(graph: LiteRtGraph, step: Embedding) -> int:
    """Exact sums as int32, each times its float32 factor, and the row of unit length.

    BATCH_MATMUL alone gives int32, and leaves its input's zero point out: so it reads the integers as they are, whose
    zero point is 0, and the bias makes up for that.
    """
    file, outputs = graph.file, len(step.bias)
    weights = step.weights.reshape(outputs, -1)
    zero_point = step.source_zero_point - SIGN
    bias = step.bias.astype(np.int64) - zero_point * weights.sum(1, dtype=np.int64)
    if np.abs(bias).max(initial=0) >= 2**31:
        refuse(step.node, "a bias beyond 32 bits")
    shape = file.constant(f"{step.node}/shape", np.array([1, step.source.size], np.int32))
    integers = file.tensor(f"{step.node}/integers", (1, step.source.size), "int8", Grid(1.0, 0))
    file.operator(
        "RESHAPE", [graph.read(step.source), shape], integers, version=1, options="ReshapeOptions",
        newShape=[1, step.source.size],
    )  # fmt: skip
    kernel = file.constant(f"{step.node}/weights", weights, grid=Grid(1.0, 0))
    sums, biased = (file.tensor(f"{step.node}/{name}", (1, outputs), "int32") for name in ("sums", "biased"))
    file.operator("BATCH_MATMUL", [integers, kernel], sums, version=3, options="BatchMatMulOptions", adjY=True)
    offset = file.constant(f"{step.node}/bias", bias.astype(np.int32))
    file.operator("ADD", [sums, offset], biased, version=1, options="AddOptions")
    numbers, scaled = (file.tensor(f"{step.node}/{name}", (1, outputs), "float32") for name in ("numbers", "scaled"))
    types = {"inDataType": 2, "outDataType": 0}  # int32, float32
    file.operator("CAST", [biased], numbers, version=1, options="CastOptions", **types)
    factors = file.constant(f"{step.node}/factors", step.factors)
    file.operator("MUL", [numbers, factors], scaled, version=1, options="MulOptions")
    embedding = file.tensor(OUTPUT_NAME, (1, outputs), "float32")
    return file.operator("L2_NORMALIZATION", [scaled], embedding, version=1, options="L2NormOptions")


def weight_scales(factors: NDArray[np.float32], source: Grid, target: Grid) -> NDArray[np.float32]:
    """The scales w of which LiteRT computes the plan's `factors`, (source.scale * w) / target.scale in float32.

    They are not stored in a plan. Where none gives the very factor, the one nearest to it.
    """
    from_scale, to_scale = np.float32(source.scale), np.float32(target.scale)
    guess = (factors.astype(np.float64) * float(to_scale) / float(from_scale)).astype(np.float32)
    best, least = guess.copy(), np.full(len(factors), np.inf)
    for direction in (np.float32(-np.inf), np.float32(np.inf)):
        tried = guess.copy()
        for _ in range(_MOST_ULPS):
            found = (from_scale * tried) / to_scale
            error = np.abs(found.astype(np.float64) - factors)
            nearer = error < least
            best[nearer], least[nearer] = tried[nearer], error[nearer]
            tried = np.nextafter(tried, direction)
    return np.maximum(best, np.finfo(np.float32).tiny)


def padded(
    graph: LiteRtGraph, node: str, source: int, maps: Maps, target: Maps, window: Window, filling: int | None = None
) -> tuple[int, int]:
    """The tensor that a window stands on, and LiteRT's padding; zeros around it come of a PAD where that has none such.

    `filling`: LiteRT's integer to be around instead of zeros.
    """
    edges = [_edges(window, axis, size, found) for axis, size, found in
             ((0, maps.rows, target.rows), (1, maps.columns, target.columns))]  # fmt: skip
    if not any(edge for pair in edges for edge in pair):
        return source, VALID
    sizes = enumerate((maps.rows, maps.columns))
    fits = edges == [_same_edges(window, axis, size) for axis, size in sizes]
    if fits and filling is None:
        return source, SAME
    (above, below), (before, behind) = edges
    wider = Maps(rows=maps.rows + above + below, columns=maps.columns + before + behind, channels=maps.channels)
    pads = np.array([(0, 0), (above, below), (before, behind), (0, 0)], np.int32)
    return write_pad(graph, f"{node}/padded", source, pads, wider, graph.grid(maps), filling), VALID


def write_pad(
    graph: LiteRtGraph, name: str, source: int, pads: NDArray[np.int32], target: Maps, grid: Grid, filling: int | None
) -> int:
    """PAD with zeros, PADV2 with LiteRT's integer `filling`."""
    inputs = [source, graph.file.constant(f"{name}/pads", pads)]
    output = graph.new(name, target, grid)
    if filling is None:
        return graph.file.operator("PAD", inputs, output, version=2, options="PadOptions")
    value = graph.file.constant(f"{name}/filling", np.array([filling], np.int8), grid=signed(grid))
    return graph.file.operator("PADV2", [*inputs, value], output, version=2, options="PadV2Options")


def _edges(window: Window, axis: int, size: int, positions: int) -> tuple[int, int]:
    """Rows or columns before and behind that a window reads."""
    extent = window.dilations[axis] * (window.kernel[axis] - 1) + 1
    before = window.edges[axis]
    return before, max(0, (positions - 1) * window.strides[axis] + extent - size - before)


def _same_edges(window: Window, axis: int, size: int) -> tuple[int, int]:
    """Those of LiteRT's padding SAME."""
    extent = window.dilations[axis] * (window.kernel[axis] - 1) + 1
    total = max(0, (-(-size // window.strides[axis]) - 1) * window.strides[axis] + extent - size)
    return total // 2, total - total // 2


def _options(window: Window, padding: int) -> dict[str, Any]:
    return {
        "padding": padding, "strideH": window.strides[0], "strideW": window.strides[1],
        "dilationHFactor": window.dilations[0], "dilationWFactor": window.dilations[1],
        "fusedActivationFunction": _NO_ACTIVATION,
    }  # fmt: skip
