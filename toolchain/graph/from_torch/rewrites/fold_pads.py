"""Fold zeros around a map into the padding of the convolutions that read them.

Requires: a student graph. Ensures: no Pad of as many zeros on both sides that a convolution reads.
"""

from __future__ import annotations

from torch import fx

from efq.toolchain.graph.operations import Pad, QuantizedConv2d
from efq.toolchain.graph.traversal import calls, module_of, producer


def fold_pads(network: fx.GraphModule) -> None:
    """Rewrite in place."""
    for node, pad in calls(network, Pad):
        assert isinstance(pad, Pad)
        if pad.above != pad.below or pad.before != pad.behind:
            continue
        for user in list(node.users):
            convolution = module_of(network, user)
            if isinstance(convolution, QuantizedConv2d):
                rows, columns = (int(size) for size in convolution.padding)
                convolution.padding = (rows + pad.above, columns + pad.before)
                # torch keeps the sizes twice, the second time for its other modes of padding
                convolution._reversed_padding_repeated_twice = [
                    *([columns + pad.before] * 2),
                    *([rows + pad.above] * 2),
                ]
                user.replace_input_with(node, producer(node))
        if not node.users:
            network.graph.erase_node(node)
