"""Merge the arithmetic with constants that a network writes between its layers: scales, shifts, normalizations.

Requires: a student graph. Ensures: no arithmetic with constants next to another ChannelAffine that nothing else reads,
none that changes nothing; the function is unchanged to rounding.
"""

from __future__ import annotations

import torch
from torch import fx

from efq.toolchain.graph.from_torch.student_graph import is_arithmetic
from efq.toolchain.graph.operations import ChannelAffine
from efq.toolchain.graph.traversal import calls, module_of, producer, remove


@torch.no_grad()
def merge_affines(network: fx.GraphModule) -> None:
    """Rewrite in place."""
    for node, affine in calls(network, ChannelAffine):
        assert isinstance(affine, ChannelAffine)
        before = producer(node)
        other = module_of(network, before)
        both = isinstance(other, ChannelAffine) and len(before.users) == 1
        if both and (is_arithmetic(node) or is_arithmetic(before)):
            assert isinstance(other, ChannelAffine)
            weight, bias = affine.weight.double(), affine.bias.double()
            kept, gone, merged = (other, node, before) if is_arithmetic(node) else (affine, before, node)
            merged_bias = weight * other.bias.double() + bias
            merged_weight = weight * other.weight.double()
            kept.weight.copy_(merged_weight)
            kept.bias.copy_(merged_bias)
            remove(network, gone)
            node, affine = merged, kept
        if is_arithmetic(node) and _changes_nothing(affine):
            remove(network, node)


def _changes_nothing(affine: ChannelAffine) -> bool:
    close = torch.allclose(affine.weight, torch.ones(()), rtol=0, atol=1e-6)
    return close and not bool(affine.bias.abs().max() > 1e-6)
