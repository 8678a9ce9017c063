"""What convolutions and pools have in common: windows that move over a padded image."""

from __future__ import annotations

import math
from typing import Any

from torch import fx
from torch.nn import functional

from efq.toolchain.graph.from_onnx.builder import shape_of
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.refusal import refuse

Pads = tuple[int, int, int, int]
"""Above, to the left, below, to the right, as ONNX orders them."""

_LARGEST = 4096


def pair(call: OperatorCall, name: str, default: int = 1) -> tuple[int, int]:
    """Two sizes, of rows and columns."""
    found = call.attribute(name, [default, default])
    if len(found) != 2 or not all(1 <= size <= _LARGEST for size in found):
        refuse(f"{name} {found[:8]}", "expected two sizes, of images (N, C, H, W)")
    return found[0], found[1]


def image_size(node: fx.Node) -> tuple[int, int]:
    """Rows and columns. Raises OnnxRefusalError for what is no (N, C, H, W)."""
    shape = shape_of(node)
    if len(shape) != 4:
        refuse(f"{len(shape)} axes", "expected images (N, C, H, W)")
    return shape[2], shape[3]


def pads_of(
    call: OperatorCall, node: fx.Node, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> Pads:
    """As `pads` or `auto_pad` says (https://onnx.ai/onnx/operators/onnx__Conv.html)."""
    automatic = call.attribute("auto_pad", "NOTSET")
    found = call.attribute("pads", [0, 0, 0, 0])
    if len(found) != 4 or not all(-_LARGEST <= size <= _LARGEST for size in found):
        refuse(f"pads {found[:8]}", "expected four, of images (N, C, H, W)")
    if automatic in ("NOTSET", ""):
        return found[0], found[1], found[2], found[3]
    if automatic == "VALID":
        return 0, 0, 0, 0
    if automatic not in ("SAME_UPPER", "SAME_LOWER"):
        refuse(f"auto_pad {automatic[:20]!r}", "")
    begin, end = [], []
    for size, window, stride, dilation in zip(image_size(node), kernel, strides, dilations, strict=True):
        total = max((math.ceil(size / stride) - 1) * stride + (window - 1) * dilation + 1 - size, 0)
        less = total // 2
        begin.append(less if automatic == "SAME_UPPER" else total - less)
        end.append(total - begin[-1])
    return begin[0], begin[1], end[0], end[1]


def padded(call: OperatorCall, node: fx.Node, pads: Pads, value: float = 0.0) -> fx.Node:
    """`node` with rows and columns of `value` around it."""
    if not any(pads):
        return node
    above, left, below, right = pads
    result: fx.Node = call.builder.call(functional.pad, node, (left, right, above, below), "constant", value)
    return result


def is_symmetric(pads: Pads) -> bool:
    """As torch's layers pad."""
    return pads[0] == pads[2] >= 0 and pads[1] == pads[3] >= 0


def without_padding(node: fx.Node) -> tuple[fx.Node, Pads]:
    """Where `node` pads an image by zeros, the image and the padding: a convolution does it itself."""
    if node.target is functional.pad and node.args[2:] == ("constant", 0.0):
        sizes: Any = node.args[1]
        source = node.args[0]
        if isinstance(source, fx.Node) and len(sizes) == 4 and min(sizes) >= 0:
            left, right, above, below = sizes
            return source, (above, left, below, right)
    return node, (0, 0, 0, 0)
