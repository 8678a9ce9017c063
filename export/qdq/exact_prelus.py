"""Find the exact PReLUs of a student: max(x, a * x) with both operands on one grid (docs/decisions/0009)."""

from __future__ import annotations

from typing import NamedTuple

from torch import fx

from efq.toolchain.graph.operations import ChannelAffine, Maximum
from efq.toolchain.graph.traversal import calls, module_of, producer
from efq.toolchain.quantizers import ActivationQuantizer


class ExactPrelu(NamedTuple):
    """The calls in front of the maximum: quantizer of x, slopes a, quantizer of a * x."""

    first: fx.Node
    slopes: fx.Node
    second: fx.Node


def exact_prelus(network: fx.GraphModule) -> dict[fx.Node, ExactPrelu]:
    """For each maximum that ends an exact PReLU, in graph order, the calls in front; nothing else reads those."""
    found: dict[fx.Node, ExactPrelu] = {}
    for maximum, _ in calls(network, Maximum):
        first, second = maximum.all_input_nodes
        if all(isinstance(module_of(network, operand), ActivationQuantizer) for operand in (first, second)):
            slopes = producer(second)
            is_prelu = isinstance(module_of(network, slopes), ChannelAffine) and producer(slopes) is first
            read_by = (set(first.users), set(slopes.users), set(second.users))
            if is_prelu and read_by == ({slopes, maximum}, {second}, {maximum}):
                found[maximum] = ExactPrelu(first, slopes, second)
    return found
