"""Pools and means over rows and columns."""

from __future__ import annotations

import math

import torch
from torch import fx, nn

from efq.toolchain.graph.from_onnx.builder import Value
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.operators.windows import Pads, image_size, is_symmetric, padded, pads_of, pair
from efq.toolchain.graph.from_onnx.refusal import refuse

_SMALLEST = float("-inf")


def max_pool(call: OperatorCall) -> Value:
    """nn.MaxPool2d; what it cannot pad itself is padded before by minus infinity."""
    source, kernel, strides, dilations, pads, ceil_mode = _window(call)
    if call.attribute("storage_order", 0):
        refuse("storage_order 1", "export with 0")
    if is_symmetric(pads) and all(2 * pad <= size for pad, size in zip(pads[:2], kernel, strict=True)):
        return call.layer(nn.MaxPool2d(kernel, strides, pads[:2], dilations, ceil_mode=ceil_mode), source)
    pads = _up_to_last(source, kernel, strides, dilations, pads, ceil_mode=ceil_mode)
    layer = nn.MaxPool2d(kernel, strides, 0, dilations)
    return call.layer(layer, padded(call, source, pads, _SMALLEST))


def average_pool(call: OperatorCall) -> Value:
    """nn.AvgPool2d; uneven padding that is not counted ends in one factor a pixel."""
    source, kernel, strides, dilations, pads, ceil_mode = _window(call)
    counted = bool(call.attribute("count_include_pad", 0))
    if dilations != (1, 1):
        refuse(f"dilations {list(dilations)} of an AveragePool", "torch has no such pool")
    if is_symmetric(pads) and all(2 * pad <= size for pad, size in zip(pads[:2], kernel, strict=True)):
        layer = nn.AvgPool2d(kernel, strides, pads[:2], ceil_mode=ceil_mode, count_include_pad=counted)
        return call.layer(layer, source)
    whole = _up_to_last(source, kernel, strides, dilations, pads, ceil_mode=ceil_mode)
    inside = torch.ones(1, 1, *image_size(source))
    if counted:
        inside = nn.functional.pad(inside, (pads[1], pads[3], pads[0], pads[2]), value=1.0)
    rest = tuple(all_ - own for all_, own in zip(whole, pads, strict=True)) if counted else whole
    inside = nn.functional.pad(inside, (rest[1], rest[3], rest[0], rest[2]))
    share = nn.functional.avg_pool2d(inside, kernel, strides)
    averages = call.layer(nn.AvgPool2d(kernel, strides), padded(call, source, whole))
    if bool((share == 1).all()):
        return averages
    return call.call(torch.mul, averages, share.reciprocal())


def global_average_pool(call: OperatorCall) -> Value:
    """nn.AdaptiveAvgPool2d(1)."""
    source = call.ordered(call.activation(0))
    image_size(source)
    return call.layer(nn.AdaptiveAvgPool2d(1), source)


def global_max_pool(call: OperatorCall) -> Value:
    """nn.AdaptiveMaxPool2d(1)."""
    source = call.ordered(call.activation(0))
    image_size(source)
    return call.layer(nn.AdaptiveMaxPool2d(1), source)


def _window(
    call: OperatorCall,
) -> tuple[fx.Node, tuple[int, int], tuple[int, int], tuple[int, int], Pads, bool]:
    source = call.ordered(call.activation(0))
    image_size(source)
    kernel, strides, dilations = pair(call, "kernel_shape"), pair(call, "strides"), pair(call, "dilations")
    pads = pads_of(call, source, kernel, strides, dilations)
    if min(pads) < 0:
        refuse(f"pads {list(pads)}", "expected none below 0")
    ceil_mode = bool(call.attribute("ceil_mode", 0)) and call.attribute("auto_pad", "NOTSET") in ("NOTSET", "")
    return source, kernel, strides, dilations, pads, ceil_mode


def _up_to_last(
    source: fx.Node,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: Pads,
    *,
    ceil_mode: bool,
) -> Pads:
    """`pads`, with ceil_mode so much more at the end that the last window fits.

    A window that would begin in the padding at the end is left out.
    """
    if not ceil_mode:
        return pads
    more = []
    for axis, size in enumerate(image_size(source)):
        begin, end = pads[axis], pads[axis + 2]
        reach = (kernel[axis] - 1) * dilations[axis] + 1
        count = math.ceil((size + begin + end - reach) / strides[axis]) + 1
        if (count - 1) * strides[axis] >= size + begin:
            count -= 1
        more.append(max((count - 1) * strides[axis] + reach - size - begin, 0))
    return pads[0], pads[1], more[0], more[1]
