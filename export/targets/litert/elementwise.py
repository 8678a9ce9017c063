"""Sums, products, maxima, pools and moves of bytes in LiteRT's operators."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from efq.export.targets.litert.graph import SIGN, LiteRtGraph, Write, signed
from efq.export.targets.litert.grids import clamp_of
from efq.export.targets.litert.products import (
    padded,
    write_average_pool,
    write_convolution,
    write_embedding,
    write_pad,
)
from efq.runtime.native.steps import (
    AveragePool,
    Convolution,
    Embedding,
    Maps,
    Maximum,
    MaxPool,
    Mean,
    Move,
    Part,
    Product,
    Step,
    Sum,
    Table,
)


def _sum(graph: LiteRtGraph, step: Sum) -> int:
    inputs = [graph.read(step.source), graph.read(step.other)]
    return graph.file.operator("ADD", inputs, graph.target(step), version=2, options="AddOptions")


def _product(graph: LiteRtGraph, step: Product) -> int:
    inputs = [graph.read(step.source), graph.read(step.other)]
    return graph.file.operator("MUL", inputs, graph.target(step), version=2, options="MulOptions")


def _maximum(graph: LiteRtGraph, step: Maximum) -> int:
    inputs = [graph.read(step.source), graph.read(step.other)]
    return graph.file.operator("MAXIMUM", inputs, graph.target(step), version=2, options="MaximumMinimumOptions")


def _table(graph: LiteRtGraph, step: Table) -> int:
    """A clamp is the MINIMUM with a number; any other function of a byte is looked up in its 256 numbers."""
    file, source, grid, highest = graph.file, graph.read(step.source), graph.grid(step.source), clamp_of(step)
    if highest is not None:
        most = file.constant(f"{step.node}/highest", np.array([highest - SIGN], np.int8), grid=signed(grid))
        return file.operator("MINIMUM", [source, most], graph.target(step), version=2, options="MaximumMinimumOptions")
    unsigned = graph.new(f"{step.node}/unsigned", step.source, grid, "uint8")
    file.operator("QUANTIZE", [source], unsigned, version=2, options="QuantizeOptions")
    shape = (1, step.source.rows, step.source.columns, step.source.channels)
    places = file.tensor(f"{step.node}/places", shape, "int32")
    file.operator("CAST", [unsigned], places, version=1, options="CastOptions", inDataType=3, outDataType=2)
    values = (step.table.astype(np.int16) - SIGN).astype(np.int8)
    table = file.constant(f"{step.node}/table", values, grid=signed(graph.grid(step.target)))
    return file.operator("GATHER", [table, places], graph.target(step), version=2, options="GatherOptions")


def _mean(graph: LiteRtGraph, step: Mean) -> int:
    axes = graph.file.constant(f"{step.node}/axes", np.array([1, 2], np.int32))
    inputs = [graph.read(step.source), axes]
    return graph.file.operator("MEAN", inputs, graph.target(step), version=2, options="ReducerOptions", keepDims=True)


def _max_pool(graph: LiteRtGraph, step: MaxPool) -> int:
    """What is outside is the least integer, which no maximum is."""
    source, window = graph.read(step.source), step.window
    source, padding = padded(graph, step.node, source, step.source, step.target, window, filling=-SIGN)
    (rows, columns), (row_step, column_step) = window.kernel, window.strides
    return graph.file.operator(
        "MAX_POOL_2D", [source], graph.target(step), version=2, options="Pool2DOptions", padding=padding,
        filterHeight=rows, filterWidth=columns, strideH=row_step, strideW=column_step,
    )  # fmt: skip


def _move(graph: LiteRtGraph, step: Move) -> int:
    """Each part cut out, then one behind the other, then what is around them."""
    rows, columns = step.extent
    blocks = [_block(graph, f"{step.node}/{number}", part, step) for number, part in enumerate(step.parts)]
    grid, target = graph.grid(step.target), step.target
    inside = Maps(rows=rows, columns=columns, channels=target.channels)
    found = blocks[0]
    if len(blocks) > 1:
        found = graph.new(f"{step.node}/joined", inside, grid)
        graph.file.operator("CONCATENATION", blocks, found, version=2, options="ConcatenationOptions", axis=3)
    (above, before) = step.at
    below, behind = target.rows - rows - above, target.columns - columns - before
    if any((above, before, below, behind)):
        pads = np.array([(0, 0), (above, below), (before, behind), (0, 0)], np.int32)
        filling = None if step.filling == grid.zero_point else step.filling - SIGN
        found = write_pad(graph, f"{step.node}/around", found, pads, target, grid, filling)
    return graph.keep(step, found)


def _block(graph: LiteRtGraph, name: str, part: Part, step: Move) -> int:
    file, grid, source = graph.file, graph.grid(part.source), graph.read(part.source)
    rows, columns = step.extent
    maps = Maps(rows=rows, columns=columns, channels=part.source.channels)
    if (part.start, part.steps) != ((0, 0), (1, 1)) or (rows, columns) != (part.source.rows, part.source.columns):
        start, steps = (0, *part.start, 0), (1, *part.steps, 1)
        ends = [first + (size - 1) * by + 1 for first, size, by in
                zip(start, (1, rows, columns, maps.channels), steps, strict=True)]  # fmt: skip
        bounds = [file.constant(f"{name}/{what}", np.array(values, np.int32)) for what, values in
                  (("start", start), ("end", ends), ("steps", steps))]  # fmt: skip
        cut = graph.new(f"{name}/cut", maps, grid)
        source = file.operator("STRIDED_SLICE", [source, *bounds], cut, version=2, options="StridedSliceOptions")
    if not np.array_equal(part.channels, np.arange(maps.channels)):
        chosen = Maps(rows=rows, columns=columns, channels=len(part.channels))
        order = file.constant(f"{name}/channels", part.channels.astype(np.int32))
        cut = graph.new(f"{name}/chosen", chosen, grid)
        source = file.operator("GATHER", [source, order], cut, version=2, options="GatherOptions", axis=3)
    return source


WRITERS: Mapping[type[Step], Write] = {
    AveragePool: write_average_pool,
    Convolution: write_convolution,
    Embedding: write_embedding,
    Maximum: _maximum,
    MaxPool: _max_pool,
    Mean: _mean,
    Move: _move,
    Product: _product,
    Sum: _sum,
    Table: _table,
}
