"""The arithmetic of ONNX QuantizeLinear and DequantizeLinear, with the straight-through gradients of LSQ+.

QuantizeLinear (ONNX operator specification): q = saturate(round_half_to_even(x / scale) + zero_point);
DequantizeLinear: (q - zero_point) * scale. Both in float32, with a division, not a product with the reciprocal:
the product lands on the other side of some halves. torch's own fake-quantize kernels multiply, and measured three
to four times slower than these in-place passes over cache-sized blocks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

_ROW = 256
BLOCK = 1 << 19  # elements a pass touches at a time: stays in the second-level cache


def quantize(values: Tensor, scale: Tensor, zero_point: Tensor | float, lowest: int, highest: int) -> Tensor:
    """QuantizeLinear: integers as float32, of the shape of `values`; scale and zero point broadcast."""
    return torch.clamp(torch.round(values / scale) + zero_point, lowest, highest)


def dequantize(integers: Tensor, scale: Tensor, zero_point: Tensor | float) -> Tensor:
    """DequantizeLinear: float32."""
    return (integers - zero_point) * scale


def _storage_order(tensor: Tensor) -> Tensor:
    """A flat view of a dense tensor in the order of its memory (contiguous or channels last)."""
    return tensor.as_strided((tensor.numel(),), (1,), tensor.storage_offset())


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last))


def _fake_quantize_blocks(values: Tensor, scale: Tensor, low: float, high: float) -> Tensor:
    result = torch.empty_like(values)
    source, target = _storage_order(values), _storage_order(result)
    block = BLOCK if values.device.type == "cpu" else values.numel()
    for part, out in zip(torch.split(source, block), torch.split(target, block), strict=True):
        torch.div(part, scale, out=out)
        out.round_().clamp_(low, high).mul_(scale)
    return result


class _FakeQuantizeTensor(torch.autograd.Function):
    """One scale and zero point for the whole tensor.

    Gradients: Esser et al. 2020 (LSQ, equations 3 and 5) for values and scale, Bhalgat et al. 2020 (LSQ+, equation 7)
    for the zero point. With y the result and m the mask of unclipped values, the scale's gradient
    sum(g * (y - m * x)) / scale needs two dot products and no further tensor.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
        values = values if _is_dense(values) else values.contiguous()
        offset = float(zero_point.round())
        low, high = lowest - offset, highest - offset
        result = _fake_quantize_blocks(values, scale, low, high)
        ctx.save_for_backward(values, result, scale)
        ctx.bounds = (low, high)
        return result

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Any:
        values, _, scale = ctx.saved_tensors  # type: ignore[attr-defined]
        low, high = ctx.bounds  # type: ignore[attr-defined]
        gradient = gradients[0]
        if gradient.stride() != values.stride():
            gradient = torch.empty_like(values).copy_(gradient)
        step = float(scale)
        passed = torch.ops.aten.hardtanh_backward(gradient, values, low * step, high * step)
        return passed, *_range_gradients(ctx, gradient, passed), None, None


def _range_gradients(ctx: FunctionCtx, gradient: Tensor, passed: Tensor) -> tuple[Tensor, Tensor | None]:
    """Of the scale and, where it is learned, of the zero point; `passed` is `gradient` where nothing was clipped."""
    values, result, scale = ctx.saved_tensors[:3]  # type: ignore[attr-defined]
    flat, flat_passed = _storage_order(gradient), _storage_order(passed)
    along_scale = _dot(flat, _storage_order(result)) - _dot(flat_passed, _storage_order(values))
    along_zero_point = None
    if ctx.needs_input_grad[2]:  # type: ignore[attr-defined]
        along_zero_point = (-scale * (flat.sum() - flat_passed.sum())).reshape(())
    return (along_scale / scale).reshape(scale.shape), along_zero_point


def _dot(left: Tensor, right: Tensor) -> Tensor:
    """Float32 (); on CPUs torch.dot of bfloat16 takes ten times as long as this sum of row products."""
    if left.dtype == torch.float32 or left.numel() % _ROW:
        return torch.dot(left, right).float()
    rows: Tensor = torch.linalg.vecdot(left.view(-1, _ROW), right.view(-1, _ROW))
    return rows.sum(dtype=torch.float32)


class _FakeQuantizeChannels(torch.autograd.Function):
    """One scale for each slice along the first axis, zero point 0: weights."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
        steps = scale.reshape(-1, *[1] * (values.dim() - 1))
        ratio = values / steps
        result = torch.round(ratio).clamp_(lowest, highest).mul_(steps)
        ctx.save_for_backward(values, result, steps)
        ctx.bounds = (lowest, highest)
        return result

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Any:
        values, result, steps = ctx.saved_tensors  # type: ignore[attr-defined]
        lowest, highest = ctx.bounds  # type: ignore[attr-defined]
        gradient = gradients[0]
        inside = (values > steps * lowest) & (values < steps * highest)
        passed = gradient * inside
        along_scale = (gradient * result - passed * values).flatten(1).sum(1) / steps.flatten()
        return passed, along_scale, None, None


class _FakeQuantizeTensorOnGpu(torch.autograd.Function):
    """`_FakeQuantizeTensor` in operations that the host never waits for: each number it reads leaves a GPU idle.

    Where a bound times the scale is no float32, a value on it may count as clipped here and not there, or the contrary.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
        values = values if _is_dense(values) else values.contiguous()
        offset = zero_point.round()
        low, high = lowest - offset, highest - offset
        result = torch.div(values, scale).round_().clamp_(low, high).mul_(scale)
        ctx.save_for_backward(values, result, scale, low, high)
        return result

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Any) -> Any:
        values, _, scale, low, high = ctx.saved_tensors  # type: ignore[attr-defined]
        gradient = gradients[0]
        if gradient.stride() != values.stride():
            gradient = torch.empty_like(values).copy_(gradient)
        passed = gradient * ((values > low * scale) & (values < high * scale))
        return passed, *_range_gradients(ctx, gradient, passed), None, None


def fake_quantize_tensor(values: Tensor, scale: Tensor, zero_point: Tensor, lowest: int, highest: int) -> Tensor:
    """DequantizeLinear(QuantizeLinear(values)), bit for bit, with straight-through gradients.

    `values` float32 of any shape, `scale` float32 (), `zero_point` float32 () in [lowest, highest], rounded half to
    even before its use.
    """
    function = _FakeQuantizeTensor if values.device.type == "cpu" else _FakeQuantizeTensorOnGpu
    result: Tensor = function.apply(values, scale, zero_point, lowest, highest)  # type: ignore[no-untyped-call]
    return result


def fake_quantize_channels(values: Tensor, scale: Tensor, lowest: int, highest: int) -> Tensor:
    """The same per slice of the first axis: `values` (C, ...) float32, `scale` (C,) float32, zero point 0."""
    result: Tensor = _FakeQuantizeChannels.apply(values, scale, lowest, highest)  # type: ignore[no-untyped-call]
    return result
