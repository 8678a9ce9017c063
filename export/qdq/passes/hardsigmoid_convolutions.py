"""Hardsigmoid as a convolution of one weight a channel, whose quantizer clamps.

ONNX Runtime has no other integer kernel of it; the float operator between bytes takes twice the time
(docs/decisions/0051-gates-and-swishes.md).

Requires: a student's graph. Ensures: no Hardsigmoid of maps in front of a quantizer that ends at 1; the bytes behind it
are the same but for ties.
"""

from __future__ import annotations

import numpy as np
from torch import fx, nn

from efq.export.qdq.operators import operator_of
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.weighted import quantized_input, write_conv
from efq.export.qdq.weights import IntegerLayer
from efq.export.qdq.writer import QdqValue, QdqWriter
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import ChannelAffine, Concat, ImageInput, QuantizedConv2d, SelectChannels
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, is_flat, module_of, producer, replace_module
from efq.toolchain.graph.walker import Call
from efq.toolchain.quantizers import ActivationQuantizer

SLOPE_INTEGER, SLOPE_SCALE = 43, 254 / 2**16
"""Their product is 1 / 6 to 6e-5: a weight of 7 bits and its scale, a bfloat16 number."""

MOST_SHIFT = 2**30
"""A Hardsigmoid whose shift is larger stays one."""


class HardsigmoidConvolution(nn.Hardsigmoid):
    """Of maps of `channels`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels


def hardsigmoid_convolutions(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Rewrite in place."""
    rewritten = 0
    for node, _ in calls(network, nn.Hardsigmoid):
        readers = [module_of(network, user) for user in node.users]
        if not is_flat(network, node) and all(map(_ends_at_1, readers)):
            replace_module(network, node, HardsigmoidConvolution(_channels_of(network, producer(node))))
            rewritten += 1
    return PassResult(changed=rewritten)


def shift_of(input_scale: float) -> int:
    """1 / 2 as the bias of a convolution that reads a tensor of that scale."""
    return round(0.5 / (input_scale * SLOPE_SCALE))


def _ends_at_1(reader: nn.Module | None) -> bool:
    if not isinstance(reader, ActivationQuantizer) or reader.signed:
        return False
    scale = float(reader.scale.detach())
    return bool(reader.highest * scale < 1 + scale / 2)


def _channels_of(network: fx.GraphModule, node: fx.Node) -> int:
    module = module_of(network, node)
    match module:
        case ImageInput():
            return 3
        case QuantizedConv2d():
            return module.out_channels
        case ChannelAffine():
            return module.channels
        case SelectChannels():
            return len(module.channels)
        case Concat():
            return sum(_channels_of(network, part) for part in node.all_input_nodes)
    return _channels_of(network, producer(node))


def write_hardsigmoid(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """A depthwise 1x1 Conv, which no report needs to name."""
    source, channels = quantized_input(call, inputs), call.module.channels
    value, shift = writer.float_of(source), shift_of(source.grid.scale)
    if shift > MOST_SHIFT:
        return writer.node(*operator_of(call.module, [value], writer.constant))
    layer = IntegerLayer(
        bits=8,
        weights=np.full((channels, 1, 1, 1), SLOPE_INTEGER, np.int8),
        scales=np.full(channels, SLOPE_SCALE, np.float32),
        bias=np.full(channels, shift, np.int32),
    )
    return write_conv(writer, layer, source, value, {"group": channels})


HARDSIGMOID_CONVOLUTIONS = GraphPass(
    rewrite=hardsigmoid_convolutions, handlers={HardsigmoidConvolution: write_hardsigmoid}
)
