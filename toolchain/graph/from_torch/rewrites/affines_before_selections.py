"""Do arithmetic with constants on channels before they are put in another order, so that it meets that of the image.

Requires: a student graph. Ensures: no ChannelAffine that alone reads a SelectChannels of every channel: a network that
turns BGR into RGB and normalizes has one normalization, and the order in front of its first layers.
"""

from __future__ import annotations

import torch
from torch import fx

from efq.toolchain.graph.from_torch.student_graph import shape_of
from efq.toolchain.graph.operations import ChannelAffine, SelectChannels
from efq.toolchain.graph.traversal import calls, module_of, producer


@torch.no_grad()
def affines_before_selections(network: fx.GraphModule) -> None:
    """Rewrite in place."""
    for node, selection in calls(network, SelectChannels):
        assert isinstance(selection, SelectChannels)
        source = producer(node)
        if sorted(selection.channels) != list(range(shape_of(source)[0])):
            continue
        order = torch.tensor(selection.channels)
        while len(node.users) == 1:
            (affine,) = node.users
            module = module_of(network, affine)
            if not isinstance(module, ChannelAffine):
                break
            module.weight[order] = module.weight.clone()
            module.bias[order] = module.bias.clone()
            affine.replace_all_uses_with(node)
            affine.replace_input_with(node, producer(node))
            node.replace_input_with(producer(node), affine)
            affine.append(node)
