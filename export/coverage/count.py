"""Which nodes multiply by weights, how many multiply-adds each does, and whether its kernel reads 8-bit integers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from efq.export.coverage.evidence import Evidence, ExecutedNode, TensorFact
from efq.runtime.errors import CoverageError

_INTEGER_DTYPES = frozenset({"int8", "uint8"})
_CONVOLUTIONS = {
    "Conv": 1,
    "FusedConv": 1,
    "NhwcFusedConv": 1,
    "ConvInteger": 1,
    "ConvTranspose": 1,
    "QLinearConv": 3,
}
_MATRIX_PRODUCTS = {
    "Gemm": 1,
    "FusedGemm": 1,
    "GemmFloat8": 1,
    "MatMul": 1,
    "FusedMatMul": 1,
    "FusedMatMulActivation": 1,
    "MatMulNBits": 1,
    "MatMulInteger": 1,
    "MatMulInteger16": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QGemm": 3,
    "QLinearMatMul": 3,
}
_NOT_COUNTED = frozenset(
    {
        "Attention", "DeformConv", "DynamicQuantizeLSTM", "Einsum", "GRU", "GroupQueryAttention", "If", "LSTM", "Loop",
        "MultiHeadAttention", "QAttention", "RNN", "Scan",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class WeightedNode:
    """A convolution or matrix product as it was run: its multiply-adds for the whole batch and its kind of kernel."""

    node: ExecutedNode
    is_convolution: bool
    is_integer: bool
    multiply_adds: int


def weighted_nodes(evidence: Evidence) -> tuple[WeightedNode, ...]:
    """Every convolution and matrix product of the optimized graph, in its order.

    A kernel is an integer one when both operands of the product are 8-bit tensors, whatever its name says: so
    DynamicQuantizeMatMul, which reads float activations, is not. Raises CoverageError for a product that never ran or
    whose multiply-adds cannot be told from its operator (attention, recurrence, control flow), and when there is none.
    """
    found = []
    for node in evidence.nodes:
        if node.op_type in _NOT_COUNTED:
            message = (
                f"expected convolutions and matrix products as nodes of their own, found {node.op_type} ({node.name}), "
                "whose multiply-adds cannot be counted. Rewrite it with Conv, Gemm or MatMul"
            )
            raise CoverageError(message)
        if node.op_type in _CONVOLUTIONS or node.op_type in _MATRIX_PRODUCTS:
            found.append(_weighted_node(node, evidence))
    if not found:
        message = (
            "expected convolutions or matrix products to count, found none in the optimized graph. Check the model"
        )
        raise CoverageError(message)
    return tuple(found)


def _weighted_node(node: ExecutedNode, evidence: Evidence) -> WeightedNode:
    is_convolution = node.op_type in _CONVOLUTIONS
    data = _fact(node, node.inputs[0], evidence)
    weight = _fact(node, node.inputs[(_CONVOLUTIONS if is_convolution else _MATRIX_PRODUCTS)[node.op_type]], evidence)
    output = _fact(node, node.outputs[0], evidence)
    count = _convolution_multiply_adds if is_convolution else _matrix_multiply_adds
    return WeightedNode(
        node=node,
        is_convolution=is_convolution,
        is_integer=data.dtype in _INTEGER_DTYPES and weight.dtype in _INTEGER_DTYPES,
        multiply_adds=count(node, data, weight, output),
    )


def _fact(node: ExecutedNode, name: str, evidence: Evidence) -> TensorFact:
    fact = evidence.tensors.get(name)
    if fact is None:
        message = (
            f"expected {node.op_type} {node.name!r} of the optimized graph in the profile, found no run of it or of "
            f"what makes its tensor {name!r}. Export a graph without branches that do not run"
        )
        raise CoverageError(message)
    return fact


_Count = Callable[[ExecutedNode, TensorFact, TensorFact, TensorFact], int]


def _convolution_multiply_adds(node: ExecutedNode, data: TensorFact, weight: TensorFact, output: TensorFact) -> int:
    """Output elements x Cin / groups x kernel; the weight is (Cout, Cin / groups, *kernel).

    A transposed convolution does as many for each *input* element; its weight is (Cin, Cout / groups, *kernel).
    Channels that ONNX Runtime pads in its blocked float layout are counted, as they are computed.
    """
    source = data if node.op_type == "ConvTranspose" else output
    return source.elements * math.prod(weight.shape[1:])


def _matrix_multiply_adds(node: ExecutedNode, data: TensorFact, weight: TensorFact, output: TensorFact) -> int:
    """Output elements x the length of the dimension summed over (M x N x K, for each matrix of a batch)."""
    transposed = node.attributes.get("transA", 0) == 1 and len(data.shape) > 1
    return output.elements * data.shape[-2 if transposed else -1]
