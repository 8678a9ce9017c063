"""Constants, conversions of type, weights stored as whole numbers; and what changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from onnx import TensorProto
from torch import Tensor

from efq.toolchain.graph.from_onnx.builder import BATCH, Activation, Value
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall, axis_of, whole_numbers
from efq.toolchain.graph.from_onnx.refusal import refuse
from efq.toolchain.graph.from_onnx.tensors import FLOATS

_LARGEST_CONSTANT = 2**24
_WHOLE = (TensorProto.INT64, TensorProto.INT32, TensorProto.INT16, TensorProto.INT8, TensorProto.UINT8)
DEQUANTIZED = "weights stored in 8 bits or fewer were dequantized: they are not those of the original float network"
NARROW = "computed in float32 what the file computes in 16 bits"


def same(call: OperatorCall) -> list[Value | None]:
    """The first input; other outputs, as Dropout's mask, are nothing."""
    return [call.needed(0), *[None] * (len(call.node.output) - 1)]


def dropout(call: OperatorCall) -> list[Value | None]:
    """Nothing, but where the file says that it is training."""
    call.ignore("ratio", "seed")
    training = call.value(2)
    if training is not None and bool(call.constant(2, "training_mode").any()):
        refuse("training_mode", "export the network in eval mode")
    return same(call)


def constant(call: OperatorCall) -> Tensor:
    """Of any of the forms of the operator but text."""
    forms: dict[str, Callable[[], Tensor]] = {
        "value": lambda: call.tensor_attribute("value"),
        "value_float": lambda: torch.tensor(call.attribute("value_float", 0.0)),
        "value_int": lambda: torch.tensor(call.attribute("value_int", 0)),
        "value_floats": lambda: torch.tensor(call.attribute("value_floats", [0.0])),
        "value_ints": lambda: torch.tensor(call.attribute("value_ints", [0])),
    }
    found = [name for name in forms if call.has(name)]
    if len(found) != 1:
        refuse("a constant that is no tensor of numbers", "save its numbers as float32")
    return forms[found[0]]()


def constant_of_shape(call: OperatorCall) -> Tensor:
    """One number everywhere; what a batch repeats is there once."""
    shape = whole_numbers(call.constant(0, "a shape"), "a shape")
    shape = [1 if size % BATCH == 0 and size else size for size in shape]
    value = call.tensor_attribute("value") if call.has("value") else torch.zeros(1)
    if any(size < 0 for size in shape) or math.prod(shape) > _LARGEST_CONSTANT or value.numel() != 1:
        refuse(f"constants of shape {shape[:8]}", f"expected up to {_LARGEST_CONSTANT:,} numbers")
    return value.reshape(()).expand(shape).clone()


def number_range(call: OperatorCall) -> Tensor:
    """Evenly spaced numbers."""
    start, limit, step = (call.constant(place, "a range") for place in range(3))
    if max(start.numel(), limit.numel(), step.numel()) > 1 or not step.any():
        refuse("a range without steps", "the file is damaged: fetch it again")
    first, end, width = (value.reshape(()).item() for value in (start, limit, step))
    count = (end - first) / width
    if not 0 <= count <= _LARGEST_CONSTANT:
        refuse(f"a range of {count:,.0f} numbers", f"expected up to {_LARGEST_CONSTANT:,}")
    return torch.arange(first, end, width, dtype=start.dtype)


def cast(call: OperatorCall) -> Value:
    """Of constants; values of the image stay float32."""
    call.ignore("saturate", "round_mode")
    source, kind = call.needed(0), call.attribute("to", 0)
    if isinstance(source, Activation):
        if kind not in FLOATS:
            refuse("values of the image made whole numbers", "export the float network")
        if kind in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
            call.builder.note(NARROW)
        return source
    if kind in FLOATS:
        return source.float()
    if kind == TensorProto.BOOL:
        return source.bool()
    if kind not in _WHOLE:
        refuse(f"a conversion to the type {kind}", "")
    return source.to(torch.int64)


def cast_like(call: OperatorCall) -> Value:
    """As the second input is."""
    call.ignore("saturate", "round_mode")
    source, other = call.needed(0), call.needed(1)
    if isinstance(source, Activation):
        if isinstance(other, Tensor) and not other.is_floating_point():
            refuse("values of the image made whole numbers", "export the float network")
        return source
    return source.to(torch.float32 if isinstance(other, Activation) else other.dtype)


def dequantize(call: OperatorCall) -> Tensor:
    """(values - zero point) * scale, of a tensor, a channel or a block
    (https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html)."""
    call.ignore("output_dtype")
    values, scale = call.constant(0, "weights"), call.constant(1, "a scale")
    zero = torch.zeros_like(scale) if call.value(2) is None else call.constant(2, "a zero point")
    axis, block = call.attribute("axis", 1), call.attribute("block_size", 0)
    if zero.numel() == 1:
        zero = zero.reshape(()).expand(scale.shape)
    if values.is_floating_point() or zero.shape != scale.shape or not scale.is_floating_point():
        refuse("scales and zero points that do not fit", "the file is damaged: fetch it again")
    if values.dim() and scale.numel() > 1:
        axis = axis_of(axis, values.dim())
        scale, zero = (_along(part, values, axis, block) for part in (scale, zero))
    else:
        scale, zero = scale.reshape(()), zero.reshape(())
    call.builder.note(DEQUANTIZED)
    return (values - zero).float() * scale


def _along(part: Tensor, values: Tensor, axis: int, block: int) -> Tensor:
    """One number a channel, or one a block of `block` channels, for each of `values`."""
    size = values.shape[axis]
    if block > 0 and part.dim() == values.dim():
        wanted = [*values.shape[:axis], -(-size // block), *values.shape[axis + 1 :]]
        if list(part.shape) == wanted:
            return part.repeat_interleave(block, axis).narrow(axis, 0, size)
    elif not block and part.numel() == size:
        return part.reshape([-1 if place == axis else 1 for place in range(values.dim())])
    reason = f"scales of {list(part.shape)} for weights of {list(values.shape)} in blocks of {block}"
    return refuse(reason, "the file is damaged: fetch it again")


PLAIN_VALUES: dict[str, Callable[[OperatorCall], Any]] = {
    "Constant": constant,
    "ConstantOfShape": constant_of_shape,
    "Range": number_range,
    "Identity": same,
    "Dropout": dropout,
    "Cast": cast,
    "CastLike": cast_like,
    "DequantizeLinear": dequantize,
}
