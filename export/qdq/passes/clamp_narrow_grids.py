"""Clamp bytes at the top of a grid of fewer than 8 bits: they saturate at its bottom, 0, by themselves.

Requires: a student's graph. Ensures: a Clamp behind every quantizer of fewer than 8 bits, which all its readers read.
"""

from __future__ import annotations

import numpy as np
from torch import fx, nn

from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.writer import QdqValue, QdqWriter, Quantized
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_behind
from efq.toolchain.graph.walker import Call
from efq.toolchain.quantizers import ActivationQuantizer


class Clamp(nn.Module):
    """The integers of a grid of `bits` end at 2^bits - 1; what a quantizer of the student does itself."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits


def clamp_narrow_grids(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Insert in place."""
    inserted = 0
    for node, quantizer in calls(network, ActivationQuantizer):
        assert isinstance(quantizer, ActivationQuantizer)
        if quantizer.bits < 8:
            insert_behind(network, node, f"{node.name}_clamp", Clamp(quantizer.bits))
            inserted += 1
    return PassResult(changed=inserted)


def write_clamp(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Min of the integers and the highest of the grid."""
    (value,) = inputs
    assert isinstance(value, Quantized)
    highest = writer.constant(np.uint8(2**call.module.bits - 1))
    return Quantized(writer.node("Min", [value.integers, highest], {}), value.grid)


CLAMP_NARROW_GRIDS = GraphPass(rewrite=clamp_narrow_grids, handlers={Clamp: write_clamp})
