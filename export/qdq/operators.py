"""The ONNX operator of each operation of a student that has no weights, and the attributes of its convolutions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from torch import nn

from efq.toolchain.graph.operations import (
    Add,
    Concat,
    Crop,
    Flatten,
    GlobalAveragePool,
    LeakyRelu,
    Multiply,
    Pad,
    QuantizedConv2d,
    SelectChannels,
)
from efq.toolchain.graph.walker import of_kind

Operator = tuple[str, list[ir.Value], dict[str, Any]]
"""Type, inputs and attributes of a node."""

Constant = Callable[[NDArray[Any]], ir.Value]


def convolution_attributes(module: QuantizedConv2d, pad: Pad | None = None) -> dict[str, Any]:
    """Those that are not ONNX's defaults, with a `pad` in front taken in; the kernel's shape is the weight's."""
    rows, columns = (int(size) for size in module.padding)
    edges = (0, 0, 0, 0) if pad is None else pad.edges
    attributes = {
        "group": (module.groups, 1),
        "strides": (list(module.stride), [1, 1]),
        "dilations": (list(module.dilation), [1, 1]),
        "pads": ([own + more for own, more in zip((rows, columns) * 2, edges, strict=True)], [0, 0, 0, 0]),
    }
    return {name: value for name, (value, default) in attributes.items() if value != default}


def operator_of(module: nn.Module, inputs: list[ir.Value], constant: Constant) -> Operator:
    """The ONNX operator, inputs and attributes of an operation without weights.

    `constant` makes an initializer of an array. Raises UsageError for an operation that has none.
    """
    return of_kind(module, _OPERATORS)(module, inputs, constant)


def _leaky_relu(module: Any, inputs: list[ir.Value], constant: Constant) -> Operator:
    return "LeakyRelu", inputs, {"alpha": float(module.slope.detach())}


def _slice(module: Any, inputs: list[ir.Value], constant: Constant) -> Operator:
    bounds = [[module.top, module.left], [module.bottom, module.right], [2, 3]]
    return "Slice", [*inputs, *[constant(np.array(value, dtype=np.int64)) for value in bounds]], {}


def move(module: Pad | SelectChannels, value: ir.Value, zero: NDArray[Any], constant: Constant) -> Operator:
    """The operator of one that only moves numbers, on floats or on the integers of a grid, whose `zero` pads."""
    if isinstance(module, Pad):
        above, before, below, behind = module.edges
        sizes = np.array([0, 0, above, before, 0, 0, below, behind], dtype=np.int64)
        return "Pad", [value, constant(sizes), constant(zero)], {}
    first, last = module.channels[0], module.channels[-1]
    if module.channels == tuple(range(first, last + 1)):
        bounds = [[first], [last + 1], [1]]
        return "Slice", [value, *[constant(np.array(bound, dtype=np.int64)) for bound in bounds]], {}
    # Reshape, Transpose, Reshape, the usual spelling of a shuffle, took 20 times as long in ONNX Runtime 1.32.
    return "Gather", [value, constant(np.array(module.channels, dtype=np.int64))], {"axis": 1}


def _gelu(module: Any, inputs: list[ir.Value], constant: Constant) -> Operator:
    return "Gelu", inputs, {} if module.approximate == "none" else {"approximate": module.approximate}


def _max_pool(module: Any, inputs: list[ir.Value], constant: Constant) -> Operator:
    return "MaxPool", inputs, _pool_attributes(module) | {"dilations": _pair(module.dilation)}


def _average_pool(module: Any, inputs: list[ir.Value], constant: Constant) -> Operator:
    """Without padding nothing is counted but the map: a window cut off at its end, too, which ceil_mode adds."""
    counts_padding = module.count_include_pad and (any(_pair(module.padding)) or not module.ceil_mode)
    return "AveragePool", inputs, _pool_attributes(module) | {"count_include_pad": int(counts_padding)}


def _pool_attributes(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    return {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "pads": _pair(module.padding) * 2,
        "ceil_mode": int(module.ceil_mode),
    }


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, tuple | list) else [int(value)] * 2


_OPERATORS: dict[type[nn.Module], Callable[[Any, list[ir.Value], Constant], Operator]] = {
    Add: lambda module, inputs, constant: ("Add", inputs, {}),
    Concat: lambda module, inputs, constant: ("Concat", inputs, {"axis": 1}),
    Flatten: lambda module, inputs, constant: ("Flatten", inputs, {"axis": 1}),
    GlobalAveragePool: lambda module, inputs, constant: ("GlobalAveragePool", inputs, {}),
    LeakyRelu: _leaky_relu,
    Crop: _slice,
    Multiply: lambda module, inputs, constant: ("Mul", inputs, {}),
    nn.Sigmoid: lambda module, inputs, constant: ("Sigmoid", inputs, {}),
    nn.Hardsigmoid: lambda module, inputs, constant: ("HardSigmoid", inputs, {"alpha": 1 / 6, "beta": 0.5}),
    nn.Tanh: lambda module, inputs, constant: ("Tanh", inputs, {}),
    nn.Hardswish: lambda module, inputs, constant: ("HardSwish", inputs, {}),
    nn.GELU: _gelu,
    nn.MaxPool2d: _max_pool,
    nn.AvgPool2d: _average_pool,
}
