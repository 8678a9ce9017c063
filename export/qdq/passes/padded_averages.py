"""Averages over windows with zeros around the map, the zeros written as a Pad: OpenVINO's own are bytes of 0.

On a grid whose zero is another byte OpenVINO 2026.4 averages what byte 0 stands for there into the windows at the edge.

Requires: a student's graph. Ensures: no AvgPool2d that counts padding reads a signed grid; what it gives is the same.
"""

from __future__ import annotations

from torch import fx, nn

from efq.export.qdq.passes.clamp_narrow_grids import Clamp
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.operations import SCALE_PRESERVING, ImageInput, Pad
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_behind, module_of, producer, replace_module
from efq.toolchain.quantizers import ActivationQuantizer


def padded_averages(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Rewrite in place."""
    rewritten = 0
    for node, pool in calls(network, nn.AvgPool2d):
        assert isinstance(pool, nn.AvgPool2d)
        rows, columns = pool.padding if isinstance(pool.padding, tuple) else (pool.padding, pool.padding)
        if not (rows or columns) or not pool.count_include_pad or not _is_signed(network, producer(node)):
            continue
        pad = Pad(above=rows, below=rows, before=columns, behind=columns)
        padded = insert_behind(network, producer(node), f"{node.name}_pad", pad)
        for user in list(padded.users):
            if user is not node:
                user.replace_input_with(padded, producer(padded))
        replace_module(network, node, nn.AvgPool2d(pool.kernel_size, pool.stride, 0, pool.ceil_mode))
        rewritten += 1
    return PassResult(changed=rewritten)


def _is_signed(network: fx.GraphModule, node: fx.Node) -> bool:
    module = module_of(network, node)
    while isinstance(module, (Clamp, *SCALE_PRESERVING)):
        node = producer(node)
        module = module_of(network, node)
    return isinstance(module, ImageInput) or (isinstance(module, ActivationQuantizer) and module.signed)


PADDED_AVERAGES = GraphPass(rewrite=padded_averages)
"""Without handlers: the operations are a student's own."""
