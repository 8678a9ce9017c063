"""A Q/DQ graph while it is written: its values are floats, or bytes on a grid, dequantized where a float is read."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from efq.export.qdq.graph_writer import GraphWriter
from efq.toolchain.quantizers import ActivationQuantizer


@dataclasses.dataclass(frozen=True)
class Grid:
    """Of a uint8 tensor: value = scale * (integer - zero_point)."""

    scale: float
    zero_point: int


@dataclasses.dataclass(eq=False)
class Quantized:
    """A uint8 tensor of the graph; `dequantized` once a float operator has read it."""

    integers: ir.Value
    grid: Grid
    dequantized: ir.Value | None = None


QdqValue = ir.Value | Quantized


class QdqWriter(GraphWriter):
    """Adds QuantizeLinear and DequantizeLinear where they are asked for."""

    def float_of(self, value: QdqValue) -> ir.Value:
        """The float value, dequantized where a float operator first reads it."""
        if not isinstance(value, Quantized):
            return value
        if value.dequantized is None:
            bounds = self._scale_and_zero_point(value.grid)
            value.dequantized = self.node("DequantizeLinear", [value.integers, *bounds], {})
        return value.dequantized

    def quantize(self, value: ir.Value, grid: Grid) -> Quantized:
        """A float value on `grid`."""
        return Quantized(self.node("QuantizeLinear", [value, *self._scale_and_zero_point(grid)], {}), grid)

    def _scale_and_zero_point(self, grid: Grid) -> tuple[ir.Value, ir.Value]:
        return self.constant(np.float32(grid.scale)), self.constant(np.uint8(grid.zero_point))


def grid_of(quantizer: ActivationQuantizer) -> Grid:
    """The uint8 grid, which starts at 0: a signed grid is shifted, the same integers."""
    return Grid(float(quantizer.scale.detach()), quantizer.integer_zero_point - quantizer.lowest)
