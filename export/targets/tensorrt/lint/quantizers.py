"""Where the operands of convolutions and matrix products are quantized.

TensorRT runs an operator in int8 when the operand comes from DequantizeLinear, directly or over operators that work as
well on the integers. Which these are was found with the builder of TensorRT-RTX 1.7.1 (tests/parity).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, Array, Graph, is_a, name_of, operand

CONVOLUTIONS = ("Conv", "ConvTranspose")
PRODUCTS = ("Gemm", "MatMul")
_MOVES_DATA = (
    *("Abs", "Cast", "DepthToSpace", "Dropout", "Expand", "Flatten", "Gather", "GlobalMaxPool", "Identity", "MaxPool"),
    *("Neg", "ReduceMax", "Reshape", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
)
_JOINS_DATA = ("Concat", "Max", "Min", "Where")
_KEEPS_WEIGHTS = ("Cast", "Div", "Dropout", "Identity", "Mul", "Slice")
_SHAPES_WEIGHTS = ("Flatten", "Reshape", "Squeeze", "Unsqueeze")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WeightedOperator:
    """A convolution or matrix product and the DequantizeLinear nodes its two operands come from, if any."""

    node: ir.Node
    data: ir.Value
    weight: ir.Value
    data_source: ir.Node | None
    weight_source: ir.Node | None
    weight_axis: int | None  # the axis of the weight's scales, in the layout the operator reads

    @property
    def is_quantized(self) -> bool:
        """Whether both operands are."""
        return self.data_source is not None and self.weight_source is not None

    @property
    def output_axis(self) -> int:
        """The axis of `weight` that holds the output channels."""
        match self.node.op_type:
            case "Conv":
                return 0
            case "ConvTranspose":
                return 1
            case "Gemm":
                return 0 if self.node.attributes.get_int("transB", 0) else 1
        return len(self.weight.shape) - 1 if self.weight.shape is not None else 1


def weighted_operators(graph: Graph) -> Iterator[WeightedOperator]:
    """Every convolution and matrix product of `graph` with a constant weight, in its order."""
    for node in graph.of_type(*CONVOLUTIONS, *PRODUCTS):
        data, weight = operand(node, 0), operand(node, 1)
        if data is None or weight is None or graph.is_activation(weight) or not graph.is_activation(data):
            continue
        source, axis = weight_source(graph, weight)
        yield WeightedOperator(
            node=node,
            data=data,
            weight=weight,
            data_source=data_source(graph, data),
            weight_source=source,
            weight_axis=axis,
        )


def data_source(graph: Graph, value: ir.Value) -> ir.Node | None:
    """The DequantizeLinear from which the integers of an activation can reach its reader, or None."""
    node = value.producer()
    if node is None or is_a(node, DEQUANTIZE):
        return node
    inputs = [source for source in node.inputs if source is not None]
    if is_a(node, *_MOVES_DATA) or (is_a(node, "Mul", "Div") and _scales_by_one_number(graph, node)):
        return data_source(graph, inputs[0])
    if is_a(node, "Pad") and _pads_with_zero(graph, node):
        return data_source(graph, inputs[0])
    if is_a(node, *_JOINS_DATA):
        sources = [data_source(graph, source) for source in inputs if graph.dtype(source) != ir.DataType.BOOL]
        found = [source for source in sources if source is not None]
        if found and len(found) == len(sources) and len({scale_key(graph, source) for source in found}) == 1:
            return found[0]
    return None


def weight_source(graph: Graph, value: ir.Value) -> tuple[ir.Node | None, int | None]:
    """The DequantizeLinear of a constant weight, and the axis of its scales in the layout of `value`.

    The axis is None where the scales follow no axis of `value`.
    """
    node = value.producer()
    if node is None or is_a(node, DEQUANTIZE):
        return node, node.attributes.get_int("axis", 1) % _rank(graph, value) if node is not None else None
    first = operand(node, 0)
    if first is None or not is_a(node, *_KEEPS_WEIGHTS, *_SHAPES_WEIGHTS, "Transpose"):
        return None, None
    source, axis = weight_source(graph, first)
    if source is None or axis is None or is_a(node, *_KEEPS_WEIGHTS):
        return source, axis
    if is_a(node, "Transpose"):
        order = node.attributes.get_ints("perm", tuple(reversed(range(_rank(graph, value)))))
        return source, list(order).index(axis)
    return source, _moved_axis(graph.shape(first), graph.shape(value), axis)


def scale_of(graph: Graph, node: ir.Node) -> Array | None:
    """The scales of a QuantizeLinear or DequantizeLinear, None where they are no constant."""
    return graph.constant(operand(node, 1))


def scale_key(graph: Graph, node: ir.Node) -> bytes | str:
    """Equal for two nodes when their scales are."""
    scale, value = scale_of(graph, node), operand(node, 1)
    return str(value.name if value is not None else "") if scale is None else scale.astype(np.float64).tobytes()


def is_blocked(node: ir.Node) -> bool:
    """Whether a QuantizeLinear or DequantizeLinear has a scale for each block of values."""
    return bool(node.attributes.get_int("block_size", 0))


def is_per_channel(graph: Graph, node: ir.Node) -> bool:
    """Whether a QuantizeLinear or DequantizeLinear has a scale for each index of an axis."""
    scale = scale_of(graph, node)
    return scale is not None and scale.size > 1 and not is_blocked(node)


def quantized_type(graph: Graph, node: ir.Node) -> ir.DataType | None:
    """The type of the integers that a DequantizeLinear reads; of a fake-quantized float weight, what its Q writes."""
    value = operand(node, 0)
    return None if value is None else graph.dtype(value)


def readers(value: ir.Value, *operators: str) -> list[ir.Node]:
    """The nodes of these operators that read `value`."""
    return [node for node in value.consumers() if is_a(node, *operators)]


def describe_source(graph: Graph, value: ir.Value) -> str:
    """Where `value` comes from, for a message."""
    node, dtype = value.producer(), graph.dtype(value)
    kind = dtype.name.lower() if dtype is not None else "unknown type"
    if node is None:
        return f"{value.name} ({kind})"
    if is_a(node, *_JOINS_DATA):
        return f"{node.op_type} {name_of(node)} of inputs without one common scale ({kind})"
    return f"{node.op_type} {name_of(node)} ({kind})"


def quantize_of(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear that a DequantizeLinear reads directly."""
    value = operand(node, 0)
    producer = value.producer() if value is not None else None
    return producer if producer is not None and is_a(producer, QUANTIZE) else None


def _scales_by_one_number(graph: Graph, node: ir.Node) -> bool:
    factor = graph.constant(operand(node, 1))
    return factor is not None and factor.size == 1


def _pads_with_zero(graph: Graph, node: ir.Node) -> bool:
    fill = operand(node, 2)
    value = graph.constant(fill)
    return fill is None or (value is not None and not value.any())


def _rank(graph: Graph, value: ir.Value) -> int:
    node = value.producer()
    source = operand(node, 0) if node is not None and is_a(node, DEQUANTIZE) else value
    shape = graph.shape(source) if source is not None else None
    return len(shape) if shape else 1


def _moved_axis(before: tuple[int | None, ...] | None, after: tuple[int | None, ...] | None, axis: int) -> int | None:
    """The axis of `after` that is `axis` of `before` when the same elements are read in the same order."""
    if before is None or after is None:
        return None
    old, new = [[size or 0 for size in shape] for shape in (before, after)]
    same = [i for i, size in enumerate(new) if size == old[axis] and math.prod(new[:i]) == math.prod(old[:axis])]
    return same[0] if same else None
