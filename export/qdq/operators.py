"""The ONNX operator of each operation of a student that has no weights, and the attributes of its convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from torch import nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.operations import Add, Concat, Crop, Flatten, GlobalAveragePool, LeakyRelu, QuantizedConv2d


def convolution_attributes(module: QuantizedConv2d) -> dict[str, Any]:
    """Those that are not ONNX's defaults; the kernel's shape is the weight's."""
    rows, columns = (int(size) for size in module.padding)
    attributes = {
        "group": (module.groups, 1),
        "strides": (list(module.stride), [1, 1]),
        "dilations": (list(module.dilation), [1, 1]),
        "pads": ([rows, columns, rows, columns], [0, 0, 0, 0]),
    }
    return {name: value for name, (value, default) in attributes.items() if value != default}


def operator_of(module: nn.Module, inputs: list[ir.Value], constant: Any) -> tuple[str, list[ir.Value], dict[str, Any]]:
    """The ONNX operator, inputs and attributes of an operation without weights."""
    match module:
        case Add():
            return "Add", inputs, {}
        case Concat():
            return "Concat", inputs, {"axis": 1}
        case Flatten():
            return "Flatten", inputs, {"axis": 1}
        case GlobalAveragePool():
            return "GlobalAveragePool", inputs, {}
        case LeakyRelu():
            return "LeakyRelu", inputs, {"alpha": float(module.slope.detach())}
        case Crop():
            bounds = [[module.top, module.left], [module.bottom, module.right], [2, 3]]
            return "Slice", [*inputs, *[constant(np.array(value, dtype=np.int64)) for value in bounds]], {}
        case nn.MaxPool2d():
            return "MaxPool", inputs, _pool_attributes(module) | {"dilations": _pair(module.dilation)}
        case nn.AvgPool2d():
            return (
                "AveragePool",
                inputs,
                _pool_attributes(module) | {"count_include_pad": int(module.count_include_pad)},
            )
    message = f"{type(module).__name__} has no ONNX operator"
    raise UsageError(message)


def _pool_attributes(module: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    return {
        "kernel_shape": _pair(module.kernel_size),
        "strides": _pair(module.stride),
        "pads": _pair(module.padding) * 2,
        "ceil_mode": int(module.ceil_mode),
    }


def _pair(value: Any) -> list[int]:
    return list(value) if isinstance(value, tuple | list) else [int(value)] * 2
