"""An exact PReLU behind a convolution as the operator PRelu, which a runtime fuses into the convolution's kernel.

Requires: late clamps, where there are grids of fewer than 8 bits: a PReLU with clamps in between is left as it is.
Ensures: where a convolution that nothing else reads gives x, max(x, a * x) is one FusedPrelu of
the convolution's float value, rounded once, on the grid of the maximum's operands; others stay maxima.
"""

from __future__ import annotations

from torch import fx, nn

from efq.export.qdq.passes.exact_prelus import exact_prelus
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.export.qdq.weights import integer_layer
from efq.export.qdq.writer import QdqValue, QdqWriter, grid_of
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import insert_after, module_of, producer
from efq.toolchain.graph.walker import Call
from efq.toolchain.quantizers import ActivationQuantizer


class FusedPrelu(nn.Module):
    """quantizer(prelu(x, slopes)); `layer` is the name of the slopes' layer."""

    def __init__(self, layer: str, slopes: ChannelAffine, quantizer: ActivationQuantizer) -> None:
        super().__init__()
        self.layer, self.slopes, self.quantizer = layer, slopes, quantizer


def fuse_prelus(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Fuse in place."""
    fused = 0
    for maximum, prelu in exact_prelus(network).items():
        convolution = producer(prelu.first)
        slopes, quantizer = module_of(network, prelu.slopes), module_of(network, prelu.first)
        if not isinstance(module_of(network, convolution), QuantizedConv2d) or len(convolution.users) != 1:
            continue
        assert isinstance(slopes, ChannelAffine)
        assert isinstance(quantizer, ActivationQuantizer)
        operation = FusedPrelu(str(prelu.slopes.target), slopes, quantizer)
        call = insert_after(network, maximum, f"{maximum.name}_fused", operation, (convolution,))
        maximum.replace_all_uses_with(call)
        for node in (maximum, prelu.second, prelu.slopes, prelu.first):
            network.graph.erase_node(node)
        fused += 1
    return PassResult(changed=fused)


def write_fused_prelu(writer: QdqWriter, call: Call, inputs: list[QdqValue]) -> QdqValue:
    """PRelu with the slopes as they are quantized."""
    grid = grid_of(call.module.quantizer)
    layer = integer_layer(call.module.layer, call.module.slopes, grid.scale)
    slopes = layer.weights.reshape(-1, 1, 1) * layer.scales.reshape(-1, 1, 1)
    operands = [writer.float_of(inputs[0]), writer.constant(slopes)]
    return writer.quantize(writer.node("PRelu", operands, {}), grid)


FUSE_PRELUS = GraphPass(rewrite=fuse_prelus, handlers={FusedPrelu: write_fused_prelu})
