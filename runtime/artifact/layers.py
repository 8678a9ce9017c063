"""The rules of the operators with windows or weights: convolutions, matrix products and pools, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from efq.runtime.artifact.graph_values import FLOATS, Activation, Value, expect, integer, integers
from efq.runtime.artifact.onnx_model import Node

PRODUCTS = ("Conv", "Gemm", "MatMul")

LARGEST_STRIDE, LARGEST_DILATION, LARGEST_PAD, LARGEST_KERNEL = 64, 64, 255, 255


def multiply_adds(node: Node, inputs: Sequence[Value], output: Value) -> int:
    """For one image, by a product or a pool (comparisons, sums); 0 for all others."""
    if node.operator in PRODUCTS:
        return math.prod(output.shape) * math.prod(inputs[1].shape) // output.shape[0]
    if node.operator in ("MaxPool", "AveragePool"):
        return math.prod(output.shape) * math.prod(integers(node, "kernel_shape", ()))
    return 0


def convolution(node: Node, inputs: Sequence[Value]) -> Value:
    """With weights (outputs, inputs of a group, rows, columns)."""
    value, weight, *biases = inputs
    expect(value.dtype in FLOATS and weight.dtype == value.dtype, "an input and weights of two types")
    expect(len(value.shape) == 3 and len(weight.shape) == 4, f"weights of the shape {weight.shape}")
    outputs, channels, *kernel = weight.shape
    group = integer(node, "group", 1)
    fits = group >= 1 and channels * group == value.shape[0] and outputs % group == 0
    expect(fits, f"weights of the shape {weight.shape} in {group} groups for an input of the shape {value.shape}")
    _expect_bias(biases, value.dtype, outputs)
    expect(max(kernel) <= LARGEST_KERNEL, f"a kernel of {kernel}")
    return Activation(value.dtype, (outputs, *_windows(node, value.shape[1:], kernel)), node.operator)


def product(node: Node, inputs: Sequence[Value]) -> Value:
    """Gemm with weights (outputs, inputs), MatMul with weights (inputs, outputs)."""
    value, weight, *biases = inputs
    expect(value.dtype in FLOATS and weight.dtype == value.dtype, "an input and weights of two types")
    turned = node.operator == "Gemm"
    expect(not turned or node.attributes.get("transB") == 1, "weights that are not (outputs, inputs)")
    fits = len(value.shape) == 1 and len(weight.shape) == 2 and weight.shape[turned] == value.shape[0]
    expect(fits, f"weights of the shape {weight.shape} for an input of the shape {value.shape}")
    outputs = weight.shape[not turned]
    _expect_bias(biases, value.dtype, outputs)
    return Activation(value.dtype, (outputs,), node.operator)


def pool(node: Node, inputs: Sequence[Value]) -> Value:
    """MaxPool and AveragePool, whose padding is smaller than their windows, as ONNX asks."""
    (value,) = inputs
    kernel = integers(node, "kernel_shape", ())
    expect(value.dtype in FLOATS and len(value.shape) == 3 and len(kernel) == 2, "no kernel of two sizes")
    expect(all(1 <= size <= LARGEST_KERNEL for size in kernel), f"a kernel of {kernel}")
    pads = integers(node, "pads", (0, 0, 0, 0))
    expect(all(pad < size for pad, size in zip(pads, (*kernel, *kernel), strict=False)), f"pads {pads}")
    for flag in ("ceil_mode", "count_include_pad"):
        expect(integer(node, flag, 0) in (0, 1), f"{flag} that is neither 0 nor 1")
    return Activation(value.dtype, (value.shape[0], *_windows(node, value.shape[1:], kernel)), node.operator)


def _windows(node: Node, sizes: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
    """Output rows and columns; `ceil_mode` counts a last window that begins within the input or its left padding."""
    strides = integers(node, "strides", (1, 1))
    dilations = integers(node, "dilations", (1, 1))
    pads = integers(node, "pads", (0, 0, 0, 0))
    fits = (
        (len(strides), len(dilations), len(pads)) == (2, 2, 4)
        and all(1 <= stride <= LARGEST_STRIDE for stride in strides)
        and all(1 <= dilation <= LARGEST_DILATION for dilation in dilations)
        and all(0 <= pad <= LARGEST_PAD for pad in pads)
    )
    expect(fits, f"strides {strides[:4]}, dilations {dilations[:4]} and pads {pads[:8]}")
    found = []
    for axis in range(2):
        extent = dilations[axis] * (kernel[axis] - 1) + 1
        rest = sizes[axis] + pads[axis] + pads[axis + 2] - extent
        expect(rest >= 0, f"a kernel of {list(kernel)} for an input of {list(sizes)}")
        count = rest // strides[axis] + 1
        if integer(node, "ceil_mode", 0) and rest % strides[axis] and count * strides[axis] < sizes[axis] + pads[axis]:
            count += 1
        found.append(count)
    return tuple(found)


def _expect_bias(biases: Sequence[Value], dtype: int, outputs: int) -> None:
    for bias in biases:
        expect((bias.dtype, bias.shape) == (dtype, (outputs,)), f"a bias of the shape {bias.shape}")
