"""Activations behind convolutions computed on their sums, where a runtime fuses the two (OpenVINO).

A student holds Hardswish and SiLU as products of bytes, and every activation between quantizers, which is what ONNX
Runtime has kernels for (docs/decisions/0051-gates-and-swishes.md).

Requires: a student's graph, its narrow grids clamped. Ensures: x * gate(x) is a Hardswish or SiLU of x, and no
quantizer of 8 bits stands between a convolution or linear layer and an activation that alone reads it: numbers are
rounded once instead of two or three times.
"""

from __future__ import annotations

from torch import fx

from efq.export.qdq.passes.exact_prelus import quantizer_call
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import FLOAT_ACTIVATIONS, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, module_of, producer
from efq.toolchain.lowering.activations.gates import join_swishes


def fuse_activations(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Rewrite in place; how many activations follow their layers directly now."""
    join_swishes(network)
    fused = 0
    for node, _ in calls(network, *FLOAT_ACTIVATIONS):
        quantizer = producer(node)
        if quantizer_call(network, quantizer) is not quantizer or len(quantizer.users) > 1:
            continue
        layer = producer(quantizer)
        if isinstance(module_of(network, layer), QuantizedConv2d | QuantizedLinear) and len(layer.users) == 1:
            node.replace_input_with(quantizer, layer)
            network.graph.erase_node(quantizer)
            fused += 1
    return PassResult(changed=fused)


FUSE_ACTIVATIONS = GraphPass(rewrite=fuse_activations)
"""Without handlers: the operations are the student's own."""
