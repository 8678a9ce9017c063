"""Convolutions of one position with a stride, the positions selected before them: OpenVINO runs others in float.

OpenVINO 2026.4 moves the stride of such a convolution to a MaxPool in front, between it and its DequantizeLinear.

Requires: a student's graph. Ensures: a dense 1x1 convolution with a stride that alone reads a quantizer, or a
clamp, reads a StridedPositions and has none; what it gives is the same.
"""

from __future__ import annotations

import copy

import numpy as np
from torch import fx, nn

from efq.export.qdq.passes.exact_prelus import quantizer_call
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.writer import QdqValue, QdqWriter, Quantized
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import QuantizedConv2d
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_behind, producer, replace_module
from efq.toolchain.graph.walker import Call

_FAR = 1 << 30


class StridedPositions(nn.Module):
    """Every `rows`-th row and every `columns`-th column, from the first."""

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__()
        self.rows, self.columns = rows, columns


def strided_positions(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Rewrite in place."""
    rewritten = 0
    for node, convolution in calls(network, QuantizedConv2d):
        assert isinstance(convolution, QuantizedConv2d)
        source, stride = producer(node), convolution.stride
        is_alone = len(source.users) == 1 and quantizer_call(network, source) is not None
        if convolution.kernel_size != (1, 1) or max(stride) == 1 or any(convolution.padding) or not is_alone:
            continue
        insert_behind(network, source, f"{node.name}_positions", StridedPositions(*stride))
        unstrided = copy.copy(convolution)
        unstrided.stride = (1, 1)
        replace_module(network, node, unstrided)
        rewritten += 1
    return PassResult(changed=rewritten)


def write_positions(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Slice of the integers, with steps."""
    (value,) = inputs
    assert isinstance(value, Quantized)
    steps = [call.module.rows, call.module.columns]
    bounds = [np.array(numbers, np.int64) for numbers in ([0, 0], [_FAR, _FAR], [2, 3], steps)]
    return Quantized(writer.node("Slice", [value.integers, *map(writer.constant, bounds)], {}), value.grid)


STRIDED_POSITIONS = GraphPass(rewrite=strided_positions, handlers={StridedPositions: write_positions})
