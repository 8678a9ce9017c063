"""Steps as the kernels' library takes them: `struct Step` of source/step.h."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from efq.runtime.native.fusion import Layer
from efq.runtime.native.memory import Places
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

KINDS = (
    *("convolution", "embedding", "sum", "product", "maximum", "table", "mean"),
    *("max pool", "average pool", "fill", "copy"),
)
_INTEGERS = (
    *("kind", "rows", "columns", "channels", "target_rows", "target_columns", "outputs"),
    *("kernel_rows", "kernel_columns", "stride_rows", "stride_columns", "dilation_rows", "dilation_columns"),
    *("above", "before", "below", "behind", "groups", "source_zero_point", "other_zero_point", "zero_point"),
    *("highest", "sum_highest", "adds", "is_gate", "counts_padding", "filling", "first_row", "first_column"),
    *("block_rows", "block_columns", "at_row", "at_column", "first_channel", "taken_channels"),
)
_FLOATS = ("ratio", "other_ratio", "fixed", "factor", "source_scale", "scale")
_PLACES = ("source", "other", "target")
_POINTERS = ("weights", "bias", "factors", "slopes", "table", "list")


class Record(ctypes.Structure):
    """A step: numbers, places in memory, and pointers to its constants."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in _INTEGERS),
        *((name, ctypes.c_float) for name in _FLOATS),
        *((name, ctypes.c_int64) for name in _PLACES),
        *((name, ctypes.c_void_p) for name in _POINTERS),
    )


Values = dict[str, Any]


def records_of(step: Step, plan: Plan, places: Places) -> Iterator[tuple[Record, list[Any]]]:
    """The records of a step, one after the other, each with the arrays that it points to."""
    for values in _WRITERS[type(step)](step):
        constants, found = [], dict(values)
        for name in _PLACES:
            if name in found:
                found[name] = places.offsets[plan.place_of(found[name])]
        for name in _POINTERS:
            if found.get(name) is not None:
                array = np.ascontiguousarray(found[name])
                constants.append(array)
                found[name] = array.ctypes.data
        found["kind"] = KINDS.index(found["kind"])
        yield Record(**found), constants


def _sizes(source: Maps, target: Maps) -> Values:
    return {
        **{"rows": source.rows, "columns": source.columns, "channels": source.channels, "source": source},
        **{"target_rows": target.rows, "target_columns": target.columns, "outputs": target.channels, "target": target},
    }


def _window(window: Window) -> Values:
    names = ("kernel", "stride", "dilation")
    pairs = zip(names, (window.kernel, window.strides, window.dilations), strict=True)
    found = {f"{name}_{axis}": pair[place] for name, pair in pairs for place, axis in enumerate(("rows", "columns"))}
    return found | dict(zip(("above", "before", "below", "behind"), window.edges, strict=True))


def _layer(layer: Layer) -> Iterator[Values]:
    convolution = layer.convolution
    yield {
        **_sizes(convolution.source, convolution.target),
        **_window(convolution.window),
        **({} if layer.sum is None else _ratios(layer.sum) | {"other": layer.other}),
        "kind": "convolution",
        "target": layer.target,
        "groups": convolution.groups,
        "source_zero_point": convolution.source_zero_point,
        "zero_point": convolution.zero_point,
        "highest": layer.highest,
        "sum_highest": layer.sum_highest,
        "adds": 0 if layer.sum is None else 1 if layer.is_source else 2,
        "weights": convolution.weights,
        "bias": convolution.bias,
        "factors": convolution.factors,
        "slopes": layer.slopes,
    }


def _ratios(step: Sum) -> Values:
    return {"ratio": step.ratio, "other_ratio": step.other_ratio, "fixed": step.fixed}


def _embedding(step: Embedding) -> Iterator[Values]:
    kernel = (int(step.weights.shape[1]), int(step.weights.shape[2]))
    yield {
        **_sizes(step.source, step.target),
        **_window(Window(kernel=kernel)),
        "kind": "embedding",
        "groups": 1,
        "source_zero_point": step.source_zero_point,
        "weights": step.weights,
        "bias": step.bias,
        "factors": step.factors,
    }


def _sum(step: Sum) -> Iterator[Values]:
    yield {
        **_sizes(step.source, step.target), **_ratios(step),
        "kind": "sum", "other": step.other, "adds": 1, "sum_highest": 255,
    }  # fmt: skip


def _product(step: Product) -> Iterator[Values]:
    yield {
        **_sizes(step.source, step.target),
        "kind": "product",
        "other": step.other,
        "is_gate": int(step.other.size != step.source.size),
        "source_zero_point": step.source_zero_point,
        "other_zero_point": step.other_zero_point,
        "factor": step.factor,
        "zero_point": step.zero_point,
    }


def _maximum(step: Maximum) -> Iterator[Values]:
    yield {**_sizes(step.source, step.target), "kind": "maximum", "other": step.other}


def _table(step: Table) -> Iterator[Values]:
    yield {**_sizes(step.source, step.target), "kind": "table", "table": step.table}


def _mean(step: Mean) -> Iterator[Values]:
    yield {
        **_sizes(step.source, step.target), "kind": "mean", "source_zero_point": step.source_zero_point,
        "factor": step.factor, "zero_point": step.zero_point,
    }  # fmt: skip


def _max_pool(step: MaxPool) -> Iterator[Values]:
    yield {**_sizes(step.source, step.target), **_window(step.window), "kind": "max pool"}


def _average_pool(step: AveragePool) -> Iterator[Values]:
    yield {
        **_sizes(step.source, step.target),
        **_window(step.window),
        "kind": "average pool",
        "counts_padding": int(step.counts_padding),
        "source_scale": step.source_scale,
        "source_zero_point": step.source_zero_point,
        "scale": step.scale,
        "zero_point": step.zero_point,
    }


def _move(step: Move) -> Iterator[Values]:
    if step.extent != (step.target.rows, step.target.columns):
        yield {**_sizes(step.target, step.target), "kind": "fill", "filling": step.filling}
    first_channel = 0
    for part in step.parts:
        every = np.array_equal(part.channels, np.arange(part.source.channels))
        yield {
            **_sizes(part.source, step.target),
            "kind": "copy",
            **dict(zip(("first_row", "first_column"), part.start, strict=True)),
            **dict(zip(("stride_rows", "stride_columns"), part.steps, strict=True)),
            **dict(zip(("block_rows", "block_columns"), step.extent, strict=True)),
            **dict(zip(("at_row", "at_column"), step.at, strict=True)),
            "first_channel": first_channel,
            "taken_channels": len(part.channels),
            "list": None if every else part.channels,
        }
        first_channel += len(part.channels)


_WRITERS: dict[type[Step], Callable[[Any], Iterator[Values]]] = {
    Layer: _layer,
    Convolution: lambda step: _layer(Layer(node=step.node, target=step.target, convolution=step)),
    Embedding: _embedding,
    Sum: _sum,
    Product: _product,
    Maximum: _maximum,
    Table: _table,
    Mean: _mean,
    MaxPool: _max_pool,
    AveragePool: _average_pool,
    Move: _move,
}
