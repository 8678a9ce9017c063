"""What each operator of a .tflite file may read, and the shape that it gives of that: everything LiteRT would trust."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.graph_values import expect
from efq.runtime.artifact.layers import LARGEST_DILATION, LARGEST_KERNEL, LARGEST_PAD, LARGEST_STRIDE
from efq.runtime.litert.model_file import DTYPES, Operator, Tensor

SAME, VALID = 0, 1

Shape = tuple[int, ...]


class Rule(NamedTuple):
    """dtypes: of the inputs and the output, each way that is allowed. shape: of the output, by operator and inputs.

    constants: which inputs have to be stored; all others must not be. work: multiply-adds or comparisons, by the
    inputs and the output.
    """

    dtypes: tuple[tuple[str, ...], ...]
    shape: Callable[[Operator, Sequence[Tensor]], Shape]
    constants: tuple[int, ...] = ()
    either: tuple[int, ...] = ()
    work: Callable[[Sequence[Tensor], Shape], int] = lambda inputs, shape: 0


def apply(operator: Operator, inputs: Sequence[Tensor], output: Tensor) -> int:
    """Check an operator by its rule; how many multiply-adds it computes. Raises GraphError."""
    rule = RULES[operator.kind]
    dtypes = (*(tensor.dtype for tensor in inputs), output.dtype)
    expect(dtypes in rule.dtypes, f"the types {', '.join(dtypes)}")
    for number, tensor in enumerate(inputs):
        if number not in rule.either:
            stored = tensor.data is not None
            expect(stored == (number in rule.constants), f"the input {tensor.name!r} {'' if stored else 'not '}stored")
    expect(operator.options.get("activation", 0) == 0, "an activation of its own")
    shape = rule.shape(operator, inputs)
    expect(shape == output.shape, f"an output of the shape {list(output.shape)}, computed as {list(shape)}")
    return rule.work(inputs, shape)


def _maps(tensor: Tensor) -> Shape:
    expect(len(tensor.shape) == 4, f"an input of the shape {list(tensor.shape)}")
    return tensor.shape[1:]


def _stored(tensor: Tensor, length: int) -> NDArray[np.int32]:
    expect(tensor.shape == (length,) and tensor.data is not None, f"numbers of the shape {list(tensor.shape)}")
    assert tensor.data is not None
    return tensor.data.view("<i4")


def _windows(operator: Operator, sizes: Sequence[int], kernel: Sequence[int]) -> Shape:
    options, found = operator.options, []
    expect(options["padding"] in (SAME, VALID), f"padding {options['padding']}")
    for axis, name in enumerate(("row", "column")):
        stride, dilation = options[f"{name}_stride"], options.get(f"{name}_dilation", 1)
        fits = (
            1 <= stride <= LARGEST_STRIDE and 1 <= dilation <= LARGEST_DILATION and 1 <= kernel[axis] <= LARGEST_KERNEL
        )
        expect(fits, f"a kernel of {kernel[axis]}, stride {stride} and dilation {dilation}")
        extent = dilation * (kernel[axis] - 1) + 1
        expect(options["padding"] == SAME or extent <= sizes[axis], f"a kernel of {extent} for {sizes[axis]} {name}s")
        found.append(-(-sizes[axis] // stride) if options["padding"] == SAME else (sizes[axis] - extent) // stride + 1)
    return tuple(found)


def _by_channel(weights: Tensor, bias: Tensor, outputs: int, axis: int) -> None:
    fits = bias.shape == (outputs,) and all(len(tensor.scales) in (1, outputs) for tensor in (weights, bias))
    expect(fits and weights.axis in (0, axis), f"a bias of the shape {list(bias.shape)} for {outputs} channels")
    expect(len(weights.scales) == 1 or weights.axis == axis, "scales of another axis than that of the channels")


def _convolution(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    (rows, columns, channels), (*kernel, depth) = _maps(inputs[0]), _maps(inputs[1])
    outputs = inputs[1].shape[0]
    expect(channels % depth == 0 and outputs % (channels // depth) == 0, f"weights of the shape {inputs[1].shape}")
    _by_channel(inputs[1], inputs[2], outputs, 0)
    return (1, *_windows(operator, (rows, columns), kernel), outputs)


def _depthwise(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    (rows, columns, channels), (*kernel, outputs) = _maps(inputs[0]), _maps(inputs[1])
    fits = inputs[1].shape[0] == 1 and outputs == channels * operator.options["multiplier"]
    expect(fits, f"weights of the shape {list(inputs[1].shape)} for {channels} channels")
    _by_channel(inputs[1], inputs[2], outputs, 3)
    return (1, *_windows(operator, (rows, columns), kernel), outputs)


def _pool(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    rows, columns, channels = _maps(inputs[0])
    kernel = operator.options["rows"], operator.options["columns"]
    return (1, *_windows(operator, (rows, columns), kernel), channels)


def _product(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    row, weights = inputs
    fits = operator.options["adj_y"] and len(weights.shape) == 2 and row.shape == (1, weights.shape[1])
    expect(fits, f"weights of the shape {list(weights.shape)} for an input of the shape {list(row.shape)}")
    return (1, weights.shape[0])


def _sum(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    left, right = inputs
    is_bias = left.dtype == "int32"
    expect((right.data is not None) == is_bias, "a sum with stored numbers")
    expect(right.shape == (left.shape[1:] if is_bias else left.shape), "a sum of two sizes")
    return left.shape


def _multiply(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    left, right = inputs
    is_scale = left.dtype == "float32"
    expect((right.data is not None) == is_scale, "a product with stored numbers")
    allowed = (left.shape[1:],) if is_scale else (left.shape, (1, 1, 1, left.shape[-1]))
    expect(right.shape in allowed, "a product of two sizes")
    return left.shape


def _extreme(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    left, right = inputs
    expect(right.shape == (left.shape if right.data is None else (1,)), f"{operator.kind} of two sizes")
    return left.shape


def _pad(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    maps = _maps(inputs[0])
    expect(inputs[1].shape == (4, 2), "pads that are not (4, 2)")
    assert inputs[1].data is not None
    pads = inputs[1].data.view("<i4").reshape(4, 2).tolist()
    expect(pads[0] == pads[3] == [0, 0], "pads of other axes than rows and columns")
    expect(all(0 <= pad <= LARGEST_PAD for pair in pads for pad in pair), f"pads of {pads}")
    expect(len(inputs) == 2 or inputs[2].shape == (1,), "a filling that is not one number")
    return (1, *(size + sum(pair) for size, pair in zip(maps, pads[1:], strict=True)))


def _reshape(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    sizes = _stored(inputs[1], 2).tolist()
    expect(sizes == operator.options["shape"].tolist(), "two shapes")
    expect(sizes == [1, math.prod(inputs[0].shape)], f"the shape {sizes} of {inputs[0].shape}")
    return tuple(sizes)


def _gather(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    """Channels in another order, or each byte's number in a table of 256."""
    values, places = inputs
    if values.data is not None:
        expect(values.shape == (256,) and places.data is None, f"a table of {values.shape}")
        expect(operator.options["axis"] == 0, "a table along another axis")
        return places.shape
    *maps, channels = _maps(values)
    expect(operator.options["axis"] == 3 and places.data is not None, "places that are not stored")
    chosen = _stored(places, math.prod(places.shape))
    expect(bool(len(chosen)) and chosen.min() >= 0 and chosen.max() < channels, f"channels that are none of {channels}")
    return (1, *maps, len(chosen))


def _mean(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    expect(_stored(inputs[1], 2).tolist() == [1, 2] and operator.options["keeps_dimensions"], "a mean of other axes")
    return (1, 1, 1, _maps(inputs[0])[2])


def _slice(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    sizes = inputs[0].shape
    _maps(inputs[0])
    starts, ends, steps = (_stored(tensor, 4).tolist() for tensor in inputs[1:])
    bounds = list(zip(starts, ends, steps, sizes, strict=True))
    fits = all(0 <= start < end <= size and 1 <= step <= LARGEST_STRIDE for start, end, step, size in bounds)
    expect(fits, f"a slice from {starts} to {ends} by {steps} of {list(sizes)}")
    return tuple(-(-(end - start) // step) for start, end, step, _ in bounds)


def _concatenate(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    sizes = {tensor.shape[:3] for tensor in inputs}
    expect(len(sizes) == 1 and operator.options["axis"] == 3 and len(inputs[0].shape) == 4, "parts of several sizes")
    return (*inputs[0].shape[:3], sum(tensor.shape[3] for tensor in inputs))


def _cast(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    expect(DTYPES.get(operator.options["source"]) == inputs[0].dtype, "a type that is not that of its input")
    return inputs[0].shape


def _same_shape(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    return inputs[0].shape


def _row(operator: Operator, inputs: Sequence[Tensor]) -> Shape:
    expect(len(inputs[0].shape) == 2, f"an input of the shape {list(inputs[0].shape)}")
    return inputs[0].shape


def _weights_work(inputs: Sequence[Tensor], shape: Shape) -> int:
    return math.prod(shape) * math.prod(inputs[1].shape[1:])


def _depthwise_work(inputs: Sequence[Tensor], shape: Shape) -> int:
    return math.prod(shape) * math.prod(inputs[1].shape[1:3])


_BYTES = ("int8", "int8")
_LAYER = (("int8", "int8", "int32", "int8"),)
_PAIR = ("int8", "int8", "int8")
MOST_PARTS = 64

RULES: Mapping[str, Rule] = {
    "ADD": Rule((_PAIR, ("int32", "int32", "int32")), _sum, either=(1,)),
    "BATCH_MATMUL": Rule((("int8", "int8", "int32"),), _product, constants=(1,), work=_weights_work),
    "CAST": Rule((("int32", "float32"), ("uint8", "int32")), _cast),
    "CONCATENATION": Rule(tuple(("int8",) * (count + 1) for count in range(2, MOST_PARTS + 1)), _concatenate),
    "CONV_2D": Rule(_LAYER, _convolution, constants=(1, 2), work=_weights_work),
    "DEPTHWISE_CONV_2D": Rule(_LAYER, _depthwise, constants=(1, 2), work=_depthwise_work),
    "GATHER": Rule((("int8", "int32", "int8"),), _gather, either=(0, 1)),
    "L2_NORMALIZATION": Rule((("float32", "float32"),), _row),
    "MAXIMUM": Rule((_PAIR,), _extreme),
    "MAX_POOL_2D": Rule((_BYTES,), _pool),
    "MEAN": Rule((("int8", "int32", "int8"),), _mean, constants=(1,)),
    "MINIMUM": Rule((_PAIR,), _extreme, constants=(1,)),
    "MUL": Rule((_PAIR, ("float32", "float32", "float32")), _multiply, either=(1,)),
    "PAD": Rule((("int8", "int32", "int8"),), _pad, constants=(1,)),
    "PADV2": Rule((("int8", "int32", "int8", "int8"),), _pad, constants=(1, 2)),
    "QUANTIZE": Rule((("uint8", "int8"), ("int8", "uint8")), _same_shape),
    "RESHAPE": Rule((("int8", "int32", "int8"),), _reshape, constants=(1,)),
    "STRIDED_SLICE": Rule((("int8", "int32", "int32", "int32", "int8"),), _slice, constants=(1, 2, 3)),
}
"""Of every operator that EFQ writes."""
