"""The quantizers' arithmetic is that of ONNX QuantizeLinear and DequantizeLinear, to the bit."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from efq.toolchain.quantizers.arithmetic import BLOCK, fake_quantize_channels, fake_quantize_tensor

SCALES = st.floats(2**-13, 8.0, width=32)
VALUES = st.lists(st.floats(-1000.0, 1000.0, width=32), min_size=1, max_size=40)


@functools.cache
def evaluator(kind: int, rank: int, axis: int) -> ReferenceEvaluator:
    """x, scale, zero_point -> QuantizeLinear and then DequantizeLinear, on ONNX's own reference evaluator."""
    attributes = {"axis": axis} if rank > 1 else {}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"], **attributes),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["y"], **attributes),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None] * rank),
        helper.make_tensor_value_info("scale", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("zero_point", kind, None),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * rank)]
    graph = helper.make_graph(nodes, "qdq", inputs, outputs)
    return ReferenceEvaluator(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]))


def onnx_reference(
    values: NDArray[np.float32], scale: NDArray[np.float32], zero_point: NDArray[np.generic], axis: int = 0
) -> NDArray[np.float32]:
    kind = TensorProto.UINT8 if zero_point.dtype == np.uint8 else TensorProto.INT8
    feeds = {"x": values, "scale": scale, "zero_point": zero_point}
    result: NDArray[np.float32] = evaluator(kind, values.ndim, axis).run(None, feeds)[0]
    return result


@settings(deadline=None)
@given(values=VALUES, scale=SCALES, zero_point=st.integers(0, 255))
def test_unsigned_tensor_equals_onnx(values: list[float], scale: float, zero_point: int) -> None:
    x, step = np.array(values, np.float32), np.array(scale, np.float32)
    found = fake_quantize_tensor(torch.from_numpy(x), torch.from_numpy(step), torch.tensor(float(zero_point)), 0, 255)
    np.testing.assert_array_equal(found.numpy(), onnx_reference(x, step, np.array(zero_point, np.uint8)))


@settings(deadline=None)
@given(values=VALUES, scale=SCALES, zero_point=st.integers(-128, 127))
def test_signed_tensor_equals_onnx(values: list[float], scale: float, zero_point: int) -> None:
    x, step = np.array(values, np.float32), np.array(scale, np.float32)
    found = fake_quantize_tensor(
        torch.from_numpy(x), torch.from_numpy(step), torch.tensor(float(zero_point)), -128, 127
    )
    np.testing.assert_array_equal(found.numpy(), onnx_reference(x, step, np.array(zero_point, np.int8)))


@settings(deadline=None)
@given(scale=SCALES, steps=st.lists(st.integers(-300, 300), min_size=1, max_size=40), zero_point=st.integers(0, 255))
def test_halves_round_to_even_as_in_onnx(scale: float, steps: list[int], zero_point: int) -> None:
    """x = (k + 1/2) * scale, where a product with the reciprocal would land on the other side of some halves."""
    step = np.array(scale, np.float32)
    x = (np.array(steps, np.float32) + np.float32(0.5)) * step
    found = fake_quantize_tensor(torch.from_numpy(x), torch.from_numpy(step), torch.tensor(float(zero_point)), 0, 255)
    np.testing.assert_array_equal(found.numpy(), onnx_reference(x, step, np.array(zero_point, np.uint8)))


def test_halves_and_saturation_by_hand() -> None:
    x = torch.tensor([-1.0, -0.5, 0.5, 1.5, 2.5, 254.5, 255.5, 1e9, -1e9])
    found = fake_quantize_tensor(x, torch.tensor(1.0), torch.tensor(0.0), 0, 255)
    assert found.tolist() == [0.0, 0.0, 0.0, 2.0, 2.0, 254.0, 255.0, 255.0, 0.0]


@settings(deadline=None)
@given(data=st.data(), channels=st.integers(1, 5))
def test_channels_equal_onnx_along_axis_0(data: st.DataObject, channels: int) -> None:
    rows = st.lists(st.floats(-50.0, 50.0, width=32), min_size=6, max_size=6)
    x = np.array(data.draw(st.lists(rows, min_size=channels, max_size=channels)), np.float32).reshape(channels, 2, 3)
    scale = np.array(data.draw(st.lists(SCALES, min_size=channels, max_size=channels)), np.float32)
    found = fake_quantize_channels(torch.from_numpy(x), torch.from_numpy(scale), -128, 127)
    np.testing.assert_array_equal(found.numpy(), onnx_reference(x, scale, np.zeros(channels, np.int8)))


@pytest.mark.parametrize("bits", range(2, 9))
def test_grid_of_every_width(bits: int) -> None:
    """Every integer of the grid comes back; beyond it the ends do."""
    lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    grid = torch.arange(lowest - 2, highest + 3).float() * 0.25
    found = fake_quantize_tensor(grid, torch.tensor(0.25), torch.tensor(0.0), lowest, highest)
    assert torch.equal(found, grid.clamp(lowest * 0.25, highest * 0.25))
    assert len(found.unique()) == 2**bits
    rows = fake_quantize_channels(grid[None], torch.tensor([0.25]), -highest, highest)
    assert len(rows.unique()) == 2**bits - 1


def test_memory_layouts_agree() -> None:
    """Contiguous, channels last and sliced tensors, larger than a block: the same values and gradients."""
    torch.manual_seed(0)
    x = torch.randn(2, 17, 128, 130)
    assert x.numel() > BLOCK
    weight = torch.randn_like(x)
    wide = torch.zeros(2, 17, 128, 140)
    wide[..., 5:135] = x
    results = []
    for layout in (x, x.to(memory_format=torch.channels_last), wide[..., 5:135]):
        values = layout.detach().requires_grad_()
        scale, zero_point = torch.tensor(0.02, requires_grad=True), torch.tensor(3.0, requires_grad=True)
        found = fake_quantize_tensor(values, scale, zero_point, -128, 127)
        torch.autograd.backward((found * weight).sum())
        results.append((found.detach(), values.grad, scale.grad, zero_point.grad))
    for found, values_grad, scale_grad, zero_point_grad in results[1:]:
        assert torch.equal(found, results[0][0])
        assert torch.equal(values_grad, results[0][1])  # type: ignore[arg-type]
        torch.testing.assert_close(scale_grad, results[0][2], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(zero_point_grad, results[0][3], rtol=1e-4, atol=1e-3)
