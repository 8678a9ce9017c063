"""Convolutions, products with weights, BatchNorm: layers of torch.nn."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_onnx.builder import Activation, Value, filled, shape_of
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall
from efq.toolchain.graph.from_onnx.operators.windows import (
    image_size,
    is_symmetric,
    padded,
    pads_of,
    pair,
    without_padding,
)
from efq.toolchain.graph.from_onnx.refusal import refuse


def convolution(call: OperatorCall) -> Value:
    """nn.Conv2d; uneven padding stands before it."""
    source, weight = call.ordered(call.activation(0)), call.constant(1, "weights")
    bias = None if call.value(2) is None else call.constant(2, "a bias")
    groups = call.attribute("group", 1)
    if weight.dim() != 4:
        refuse(f"weights of {list(weight.shape)}", "expected a convolution of images, of four axes")
    outputs, kernel = weight.shape[0], (weight.shape[2], weight.shape[3])
    if pair(call, "kernel_shape", 1) != kernel and call.has("kernel_shape"):
        refuse(f"weights of {list(weight.shape)} for another kernel_shape", "the file is damaged")
    strides, dilations = pair(call, "strides"), pair(call, "dilations")
    image_size(source)
    inputs = weight.shape[1] * groups
    if groups < 1 or min(weight.shape) < 1 or outputs % groups or inputs != shape_of(source)[1]:
        reason = f"weights of {list(weight.shape)} in {groups} groups for {shape_of(source)[1]} channels"
        refuse(reason, "the file is damaged: fetch it again")
    pads = pads_of(call, source, kernel, strides, dilations)
    inner, before = without_padding(source)
    whole = tuple(one + two for one, two in zip(pads, before, strict=True))
    if is_symmetric(whole):  # type: ignore[arg-type]
        source, pads = inner, whole  # type: ignore[assignment]
    elif not is_symmetric(pads):
        source, pads = padded(call, source, pads), (0, 0, 0, 0)
    layer = filled(
        nn.Conv2d,
        *(inputs, outputs, kernel, strides, pads[:2], dilations, groups),
        bias=bias is not None,
        tensors={"weight": weight, "bias": None if bias is None else _vector(bias, outputs)},
    )
    return call.layer(layer, source)


def gemm(call: OperatorCall) -> Value:
    """alpha * A * B + beta * C: nn.Linear where B and C are constant."""
    alpha, beta = call.attribute("alpha", 1.0), call.attribute("beta", 1.0)
    transposed = call.attribute("transA", 0), call.attribute("transB", 0)
    left, right, added = call.needed(0), call.needed(1), call.value(2)
    if isinstance(left, Activation) and isinstance(right, Tensor) and not transposed[0]:
        weight = right if transposed[1] else right.t()
        if isinstance(added, Tensor) and added.numel() in (1, len(weight)):
            return _linear(call, left, alpha * weight, beta * added)
        product: Value = _linear(call, left, alpha * weight, None)
    else:
        parts = [
            call.call(torch.t, part) if turned else part for part, turned in zip((left, right), transposed, strict=True)
        ]
        product = call.call(torch.matmul, *parts)
        product = product if alpha == 1 else call.call(torch.mul, product, alpha)
    if added is None:
        return product
    added = added if beta == 1 else call.call(torch.mul, added, beta)
    return call.call(torch.add, product, added)


def matrix_product(call: OperatorCall) -> Value:
    """nn.Linear where the second is a constant matrix."""
    left, right = call.needed(0), call.needed(1)
    if isinstance(right, Tensor):
        while right.dim() > 2 and len(right) == 1:
            right = right[0]
        if isinstance(left, Activation) and right.dim() == 2:
            return _linear(call, left, right.t(), None)
    return call.call(torch.matmul, left, right)


def batch_norm(call: OperatorCall) -> Value:
    """nn.BatchNorm2d, or nn.BatchNorm1d on (N, C)."""
    source = call.ordered(call.activation(0))
    epsilon, channels = call.attribute("epsilon", 1e-5), shape_of(source)[1]
    if call.attribute("training_mode", 0):
        refuse("training_mode", "export the network in eval mode")
    if not call.attribute("spatial", 1) and call.constant(1, "the weight of a BatchNorm").numel() != channels:
        refuse("spatial 0, a BatchNorm of each pixel", "export with opset 9 or newer")
    names = ("weight", "bias", "running_mean", "running_var")
    tensors: dict[str, Tensor | None] = {
        name: _vector(call.constant(place, f"the {name} of a BatchNorm"), channels)
        for place, name in enumerate(names, 1)
    }
    tensors["num_batches_tracked"] = torch.tensor(0)
    kind = nn.BatchNorm2d if len(shape_of(source)) == 4 else nn.BatchNorm1d
    return call.layer(filled(kind, channels, epsilon, tensors=tensors), source)


def bias_of(call: OperatorCall) -> Value | None:
    """An addition of one number a channel to a layer without a bias, that nothing else reads: its bias now."""
    for place in (0, 1):
        value, added = call.needed(place), call.needed(1 - place)
        if not isinstance(value, Activation) or not isinstance(added, Tensor) or not call.read_once[place]:
            continue
        layer = call.builder.module_of(value.node)
        if not isinstance(layer, nn.Conv2d | nn.Linear) or layer.bias is not None or not added.is_floating_point():
            continue
        rank, channels = len(value.axes), len(layer.weight)
        stored = value.axes.index(1 if isinstance(layer, nn.Conv2d) else rank - 1)
        wanted = [channels if axis == stored else 1 for axis in range(rank)]
        if added.dim() <= rank and [1] * (rank - added.dim()) + list(added.shape) == wanted:
            layer.bias = nn.Parameter(added.reshape(-1).clone())
            return value
    return None


def _linear(call: OperatorCall, left: Activation, weight: Tensor, bias: Tensor | None) -> Activation:
    """`weight` is (outputs, inputs)."""
    source: fx.Node = call.ordered(left)
    outputs, inputs = weight.shape
    if min(weight.shape) < 1 or inputs != shape_of(source)[-1] or not weight.is_floating_point():
        found = ["N" if axis == 0 else size for axis, size in enumerate(shape_of(source))]
        reason = f"weights of {inputs} x {outputs} for values of {found}"
        refuse(reason, "the image has another size than the graph was made for, or the file is damaged")
    layer = filled(
        nn.Linear,
        *(inputs, outputs, bias is not None),
        tensors={"weight": weight.contiguous(), "bias": None if bias is None else _vector(bias, outputs)},
    )
    return call.layer(layer, source)


def _vector(values: Tensor, size: int) -> Tensor:
    """One number for each of `size` channels."""
    if values.numel() not in (1, size) or not values.is_floating_point():
        refuse(f"{values.numel()} numbers for {size} channels", "the file is damaged: fetch it again")
    return values.reshape(-1).expand(size).contiguous()
