"""The operators of the graphs that EFQ writes: what each may read, where it may stand, and the shape it gives.

The list is closed, and as narrow as the writers (`efq.export.qdq`, `efq.export.targets.tensorrt.graph`): a graph of it
computes each image of a batch for itself, in time and memory that are known beforehand, and holds nothing that a
runtime was not tried with. What efq-export writes goes through it before it is an artifact.

Semantics: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from efq.runtime.artifact.graph_values import (
    FLOATS,
    IMAGES,
    PIXELS,
    SURFACE,
    Activation,
    Constant,
    Value,
    expect,
    expect_positive,
    integer,
    numbers,
)
from efq.runtime.artifact.layers import LARGEST_PAD, LARGEST_STRIDE, convolution, pool, product
from efq.runtime.artifact.onnx_model import BFLOAT16, FLOAT, FLOAT16, INT4, INT8, INT16, INT32, UINT8, Node

MOST_PARTS = 256  # of a concatenation

_CHANNELS_FIRST, _CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)

Rule = Callable[[Node, Sequence[Value]], Value]


class Operator(NamedTuple):
    """`forms`: a letter an input, a(ctivation) or c(onstant). `rule` gives the output, or raises GraphError."""

    forms: tuple[str, ...]
    rule: Rule
    attributes: Mapping[str, type] = {}


def apply(node: Node, inputs: Sequence[Value]) -> Value:
    """The output of `node`. Raises GraphError for one that EFQ does not write so."""
    operator = OPERATORS.get(node.operator)
    expect(operator is not None, "an operator that EFQ does not write")
    assert operator is not None
    form = "".join(["a" if isinstance(value, Activation) else "c" for value in inputs])
    if form not in operator.forms:
        expect(False, f"inputs of the kinds {form!r}, not {' or '.join(map(repr, operator.forms[:4]))}")
    for name, value in node.attributes.items():
        if operator.attributes.get(name) is not type(value):
            expect(False, f"the attribute {name} = {value!r:.80}")
    return operator.rule(node, inputs)


def _quantize(node: Node, inputs: Sequence[Value]) -> Value:
    value, scale, zero_point = inputs
    expect(value.dtype in FLOATS and scale.dtype == value.dtype, "a scale of another type than its input")
    expect_positive(scale)
    expect(zero_point.dtype in (UINT8, INT8) and zero_point.shape == (), "a zero point that is no byte")
    return Activation(zero_point.dtype, value.shape, _origin(node, value))


def _dequantize(node: Node, inputs: Sequence[Value]) -> Value:
    value, scale, *zero_points = inputs
    expect(scale.dtype in FLOATS, "a scale that is no float")
    for zero_point in zero_points:
        expect((zero_point.dtype, zero_point.shape) == (value.dtype, scale.shape), "a zero point unlike its input")
    if isinstance(value, Activation):
        expect(value.dtype in (UINT8, INT8) and not node.attributes, "an input that is no bytes")
        expect_positive(scale)
        return Activation(scale.dtype, value.shape, PIXELS if value.origin == IMAGES else node.operator)
    kinds = (INT8,) if zero_points else (INT8, INT32)
    expect(value.dtype in kinds and len(value.shape) > 0, "weights of another type")
    by_channel = node.attributes == {"axis": 0} and scale.shape == value.shape[:1]
    expect(by_channel, f"scales of the shape {scale.shape} for weights of the shape {value.shape}")
    return Constant(scale.dtype, value.shape)


def _cast(node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    wanted = node.attributes.get("to")
    if isinstance(value, Constant):
        expect((value.dtype, wanted) in ((BFLOAT16, FLOAT), (INT4, INT8), (INT16, INT32)), "types it is not cast to")
        return Constant(int(wanted), value.shape)  # type: ignore[arg-type]
    kinds = ((UINT8, FLOAT16), (FLOAT16, FLOAT))
    if value.origin == SURFACE:
        kinds = ((UINT8, FLOAT), (FLOAT, FLOAT16))
    elif value.origin == IMAGES:
        kinds = ((UINT8, FLOAT), (UINT8, FLOAT16))
    expect((value.dtype, wanted) in kinds, "types it is not cast to")
    origin = SURFACE if wanted == FLOAT and value.dtype == UINT8 else node.operator
    return Activation(int(wanted), value.shape, origin)  # type: ignore[arg-type]


def _multiply(node: Node, inputs: Sequence[Value]) -> Value:
    left, right = inputs
    if isinstance(left, Activation):
        return _broadcast(node, left, right) if isinstance(right, Activation) else _by_channel(node, inputs)
    fits = left.dtype == right.dtype == FLOAT and left.shape == () and len(right.shape) == 1
    expect(fits, f"constants of the shapes {left.shape} and {right.shape}")
    return Constant(FLOAT, right.shape)


def _broadcast(node: Node, left: Activation, right: Activation) -> Value:
    """Two values of one shape, or maps and a number for each of their channels, in either order."""
    maps, gate = (left, right) if math.prod(left.shape) >= math.prod(right.shape) else (right, left)
    fits = maps.dtype == gate.dtype and maps.dtype in FLOATS
    fits = fits and gate.shape in (maps.shape, (maps.shape[0], *[1] * (len(maps.shape) - 1)))
    expect(fits, f"operands of the shapes {left.shape} and {right.shape}, types {left.dtype} and {right.dtype}")
    return Activation(maps.dtype, maps.shape, node.operator)


def _add(node: Node, inputs: Sequence[Value]) -> Value:
    left, right = inputs
    if isinstance(right, Constant):
        return _by_channel(node, inputs)
    assert isinstance(left, Activation)
    assert isinstance(right, Activation)
    return _broadcast(node, left, right)


def _same(node: Node, inputs: Sequence[Value]) -> Value:
    left, right = inputs
    described = f"operands of the shapes {left.shape} and {right.shape}, types {left.dtype} and {right.dtype}"
    expect((left.dtype, left.shape) == (right.dtype, right.shape), described)
    return Activation(left.dtype, left.shape, node.operator)


def _maximum(node: Node, inputs: Sequence[Value]) -> Value:
    expect(inputs[0].dtype == UINT8, "operands that are no bytes")
    return _same(node, inputs)


def _minimum(node: Node, inputs: Sequence[Value]) -> Value:
    value, highest = inputs
    expect(value.dtype == highest.dtype == UINT8 and highest.shape == (), "operands that are no bytes")
    return Activation(UINT8, value.shape, node.operator)


def _by_channel(node: Node, inputs: Sequence[Value]) -> Value:
    """An elementwise operator whose constants are one number, or one a channel."""
    value, *constants = inputs
    expect(value.dtype in FLOATS, "integers")
    channels = (value.shape[0], 1, 1) if len(value.shape) == 3 else value.shape
    for constant in constants:
        fits = constant.dtype == value.dtype and constant.shape in ((), channels)
        expect(fits, f"a constant of the shape {constant.shape} for a value of the shape {value.shape}")
    return Activation(value.dtype, value.shape, _origin(node, value))


def _origin(node: Node, value: Value) -> str:
    """That of the output of an operator that the graph's surface may be made of."""
    assert isinstance(value, Activation)
    return SURFACE if value.origin == SURFACE else node.operator


def _reverse(node: Node, inputs: Sequence[Value]) -> Value:
    """B, G, R to R, G, B, of images."""
    value, order = inputs
    assert isinstance(value, Activation)
    axis = integer(node, "axis", 0)
    expect(numbers(order, 3) == (2, 1, 0) and axis in (1, 3) and value.shape[axis - 1] == 3, "no three channels")
    return Activation(value.dtype, value.shape, value.origin)


def _clip(node: Node, inputs: Sequence[Value]) -> Value:
    expect(all(bound.shape == () for bound in inputs[1:]), "bounds that are no numbers")
    return _by_channel(node, inputs)


def _concatenate(node: Node, inputs: Sequence[Value]) -> Value:
    first = inputs[0]
    expect(node.attributes.get("axis") == 1 and first.dtype in FLOATS, "no channels of floats")
    alike = all((value.dtype, value.shape[1:]) == (first.dtype, first.shape[1:]) for value in inputs)
    expect(alike and all(value.shape for value in inputs), "parts of several sizes or types")
    channels = sum(value.shape[0] for value in inputs)
    return Activation(first.dtype, (channels, *first.shape[1:]), node.operator)


def _flatten(node: Node, inputs: Sequence[Value]) -> Value:
    expect(integer(node, "axis", 1) == 1, "an axis that is not 1")
    return Activation(inputs[0].dtype, (math.prod(inputs[0].shape),), node.operator)


def _average(node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    expect(value.dtype in FLOATS and len(value.shape) == 3, f"an input of the shape {value.shape}")
    return Activation(value.dtype, (value.shape[0], 1, 1), node.operator)


def _slice(node: Node, inputs: Sequence[Value]) -> Value:
    """Of rows and columns, or of channels."""
    value, starts, ends, axes, *steps = inputs
    if steps:
        return _every(node, inputs)
    if axes.shape == (1,):
        (first,), (end,), found = (numbers(bounds, 1) for bounds in (starts, ends, axes))
        expect(found == (1,) and len(value.shape) in (1, 3), f"axes {found} of a value of the shape {value.shape}")
        expect(0 <= first < end <= value.shape[0], f"channels {first}:{end} of {value.shape[0]}")
        return Activation(value.dtype, (end - first, *value.shape[1:]), node.operator)
    (top, left), (bottom, right), found = (numbers(bounds, 2) for bounds in (starts, ends, axes))
    expect(found == (2, 3) and len(value.shape) == 3, f"axes {found} of a value of the shape {value.shape}")
    fits = 0 <= top < bottom <= value.shape[1] and 0 <= left < right <= value.shape[2]
    expect(fits, f"rows {top}:{bottom} and columns {left}:{right} of {value.shape[1:]}")
    return Activation(value.dtype, (value.shape[0], bottom - top, right - left), node.operator)


def _every(node: Node, inputs: Sequence[Value]) -> Value:
    """Rows and columns from the first to the last, by steps."""
    value, *bounds = inputs
    starts, ends, axes, steps = (numbers(bound, 2) for bound in bounds)
    expect((starts, axes) == ((0, 0), (2, 3)) and len(value.shape) == 3, f"starts {starts} on the axes {axes}")
    fits = all(end >= size for end, size in zip(ends, value.shape[1:], strict=True))
    expect(fits and all(1 <= step <= LARGEST_STRIDE for step in steps), f"ends {ends} and steps {steps}")
    sizes = (-(-size // step) for size, step in zip(value.shape[1:], steps, strict=True))
    return Activation(value.dtype, (value.shape[0], *sizes), node.operator)


def _gather(node: Node, inputs: Sequence[Value]) -> Value:
    """Channels by their numbers."""
    value, chosen = inputs
    assert isinstance(value, Activation)
    if value.origin in (IMAGES, SURFACE):
        return _reverse(node, inputs)
    fits = node.attributes.get("axis") == 1 and len(value.shape) in (1, 3) and len(chosen.shape) == 1
    expect(fits, f"no list of channels of a value of the shape {value.shape}")
    channels = numbers(chosen, chosen.shape[0])
    expect(set(channels) <= set(range(value.shape[0])), f"channels that are none of {value.shape[0]}")
    return Activation(value.dtype, (len(channels), *value.shape[1:]), node.operator)


def _transpose(node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    assert isinstance(value, Activation)
    order = node.attributes.get("perm")
    to_first = order == _CHANNELS_FIRST and value.origin in (IMAGES, PIXELS, "Reshape", "Mul")
    to_last = order == _CHANNELS_LAST and value.origin in ("QuantizeLinear", "Min") and value.dtype == UINT8
    to_images = order == _CHANNELS_LAST and value.origin == SURFACE and value.shape[0] == 3
    fits = to_first or to_last or to_images
    expect(len(value.shape) == 3 and fits, f"the order {order!r:.80} behind {value.origin}")
    height, width, channels = value.shape
    shape = (channels, height, width) if to_first else (width, channels, height)
    surface = IMAGES if value.dtype == UINT8 else SURFACE
    return Activation(value.dtype, shape, surface if to_images else node.operator)


def _pad(node: Node, inputs: Sequence[Value]) -> Value:
    """Of the images' columns, or of the rows and columns of maps."""
    value, pads, filling = inputs
    assert isinstance(value, Activation)
    expect(len(value.shape) == 3, f"padding of a value of the shape {value.shape}")
    expect((filling.dtype, filling.shape) == (value.dtype, ()), "a filling of another type")
    sizes = numbers(pads, 8)
    before, behind = sizes[1:4], sizes[5:]
    is_image = value.origin == IMAGES
    padded = (False, True, False) if is_image else (False, True, True)
    fits = sizes[0] == sizes[4] == 0 and all(
        0 <= size <= (LARGEST_PAD if may else 0)
        for pair in (before, behind)
        for size, may in zip(pair, padded, strict=True)
    )
    expect(fits, f"pads of other axes than {'columns' if is_image else 'rows and columns'}")
    shape = tuple(map(sum, zip(before, value.shape, behind, strict=True)))
    return Activation(value.dtype, shape, node.operator)


def _reshape(node: Node, inputs: Sequence[Value]) -> Value:
    value, target = inputs
    assert isinstance(value, Activation)
    expect(value.origin in (IMAGES, "Pad", "Transpose") and value.dtype == UINT8, f"reshaping behind {value.origin}")
    batch, *shape = numbers(target, 4)
    fits = batch == -1 and all(size >= 1 for size in shape) and math.prod(shape) == math.prod(value.shape)
    expect(fits, f"the shape {[batch, *shape]} of an input of the shape {value.shape}")
    return Activation(value.dtype, tuple(shape), node.operator)


def _unit_length(node: Node, inputs: Sequence[Value]) -> Value:
    (value,) = inputs
    fits = value.dtype == FLOAT and len(value.shape) == 1
    expect(fits and node.attributes.get("axis") == 1 and integer(node, "p", 2) == 2, "no rows of float32 to normalize")
    return Activation(FLOAT, value.shape, node.operator)


def _leaky(node: Node, inputs: Sequence[Value]) -> Value:
    expect(math.isfinite(float(node.attributes.get("alpha", 0.01))), "a slope that is not finite")  # type: ignore[arg-type]
    return _by_channel(node, inputs)


def _between(node: Node, inputs: Sequence[Value]) -> Value:
    """HardSigmoid; alpha and beta are a slope and a shift."""
    slopes = [float(node.attributes.get(name, default)) for name, default in (("alpha", 0.2), ("beta", 0.5))]  # type: ignore[arg-type]
    expect(all(map(math.isfinite, slopes)), "a slope that is not finite")
    return _by_channel(node, inputs)


def _gelu(node: Node, inputs: Sequence[Value]) -> Value:
    expect(node.attributes.get("approximate", "none") in ("none", "tanh"), "an approximation of another kind")
    return _by_channel(node, inputs)


_POOL: dict[str, type] = {"kernel_shape": tuple, "strides": tuple, "pads": tuple, "ceil_mode": int}

OPERATORS: Mapping[str, Operator] = {
    "Add": Operator(("aa", "ac"), _add),
    "AveragePool": Operator(("a",), pool, _POOL | {"count_include_pad": int}),
    "Cast": Operator(("a", "c"), _cast, {"to": int}),
    "Clip": Operator(("acc",), _clip),
    "Concat": Operator(tuple("a" * parts for parts in range(1, MOST_PARTS + 1)), _concatenate, {"axis": int}),
    "Conv": Operator(("ac", "acc"), convolution, {"group": int, "strides": tuple, "dilations": tuple, "pads": tuple}),
    "DequantizeLinear": Operator(("ac", "acc", "cc", "ccc"), _dequantize, {"axis": int}),
    "Flatten": Operator(("a",), _flatten, {"axis": int}),
    "Gather": Operator(("ac",), _gather, {"axis": int}),
    "Gelu": Operator(("a",), _gelu, {"approximate": str}),
    "Gemm": Operator(("ac", "acc"), product, {"transB": int}),
    "GlobalAveragePool": Operator(("a",), _average),
    "HardSigmoid": Operator(("a",), _between, {"alpha": float, "beta": float}),
    "HardSwish": Operator(("a",), _by_channel),
    "LeakyRelu": Operator(("a",), _leaky, {"alpha": float}),
    "LpNormalization": Operator(("a",), _unit_length, {"axis": int, "p": int}),
    "MatMul": Operator(("ac",), product),
    "Max": Operator(("aa",), _maximum),
    "MaxPool": Operator(("a",), pool, _POOL | {"dilations": tuple}),
    "Min": Operator(("ac",), _minimum),
    "Mul": Operator(("aa", "ac", "cc"), _multiply),
    "PRelu": Operator(("ac",), _by_channel),
    "Pad": Operator(("acc",), _pad),
    "QuantizeLinear": Operator(("acc",), _quantize),
    "Relu": Operator(("a",), _by_channel),
    "Reshape": Operator(("ac",), _reshape),
    "Sigmoid": Operator(("a",), _by_channel),
    "Slice": Operator(("accc", "acccc"), _slice),
    "Sub": Operator(("ac",), _by_channel),
    "Tanh": Operator(("a",), _by_channel),
    "Transpose": Operator(("a",), _transpose, {"perm": tuple}),
}
"""Every operator of a graph that EFQ writes, for all its targets; MatMul beside them, as in graphs made by hand."""
