"""Zeros in front of convolutions as the pads of an ONNX Conv, which may differ from side to side.

Requires: other passes done. Ensures: no Pad that only convolutions read; what they give is the same.
"""

from __future__ import annotations

from torch import fx, nn

from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.weighted import quantized_input, write_padded
from efq.export.qdq.writer import QdqValue, QdqWriter
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import Pad, QuantizedConv2d
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, module_of, remove, replace_module
from efq.toolchain.graph.walker import Call


class PaddedConvolution(nn.Module):
    """`convolution` of what `pad` gives."""

    def __init__(self, pad: Pad, convolution: QuantizedConv2d) -> None:
        super().__init__()
        self.pad, self.convolution = pad, convolution


def pads_into_convolutions(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Rewrite in place; how many Pads are gone."""
    taken = 0
    for node, pad in calls(network, Pad):
        assert isinstance(pad, Pad)
        readers = [(user, module_of(network, user)) for user in node.users]
        convolutions = [(user, module) for user, module in readers if isinstance(module, QuantizedConv2d)]
        if len(convolutions) == len(readers):
            for user, convolution in convolutions:
                replace_module(network, user, PaddedConvolution(pad, convolution))
            remove(network, node)
            taken += 1
    return PassResult(changed=taken)


def write_padded_convolution(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """Conv, under its layer's name."""
    return write_padded(writer, call.name, call.module.convolution, quantized_input(call, inputs), call.module.pad)


PADS_INTO_CONVOLUTIONS = GraphPass(
    rewrite=pads_into_convolutions, handlers={PaddedConvolution: write_padded_convolution}
)
