"""Find the exact PReLUs of a student: max(x, a * x) with both operands on one grid (docs/decisions/0009)."""

from __future__ import annotations

from typing import NamedTuple

from torch import fx

from efq.export.qdq.passes.clamp_narrow_grids import Clamp
from efq.toolchain.graph.operations import ChannelAffine, Maximum
from efq.toolchain.graph.traversal import calls, module_of, producer
from efq.toolchain.quantizers import ActivationQuantizer


class ExactPrelu(NamedTuple):
    """The calls in front of the maximum: x quantized (and clamped), slopes a, a * x quantized (and clamped)."""

    first: fx.Node
    slopes: fx.Node
    second: fx.Node


def exact_prelus(network: fx.GraphModule) -> dict[fx.Node, ExactPrelu]:
    """For each maximum that ends an exact PReLU, in graph order, the calls in front; nothing else reads those."""
    found: dict[fx.Node, ExactPrelu] = {}
    for maximum, _ in calls(network, Maximum):
        first, second = maximum.all_input_nodes
        quantizers = [quantizer_call(network, operand) for operand in (first, second)]
        if quantizers[0] is None or quantizers[1] is None:
            continue
        slopes = producer(quantizers[1])
        is_prelu = isinstance(module_of(network, slopes), ChannelAffine) and producer(slopes) is first
        read_by = (set(first.users), set(slopes.users), set(second.users))
        if is_prelu and read_by == ({slopes, maximum}, {quantizers[1]}, {maximum}):
            found[maximum] = ExactPrelu(first, slopes, second)
    return found


def quantizer_call(network: fx.GraphModule, node: fx.Node) -> fx.Node | None:
    """The call of the quantizer that gave `node`, which is that or a clamp that alone reads it; None for all others."""
    if isinstance(module_of(network, node), Clamp) and len(producer(node).users) == 1:
        node = producer(node)
    return node if isinstance(module_of(network, node), ActivationQuantizer) else None
