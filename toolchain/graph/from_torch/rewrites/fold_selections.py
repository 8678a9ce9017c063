"""Fold another order of all channels into the weights that read them: BGR, a head that flattens channels last.

Requires: a student graph. Ensures: no SelectChannels of every channel that only convolutions of one group, linear
layers, or a ChannelAffine in front of them read.
"""

from __future__ import annotations

import torch
from torch import fx

from efq.toolchain.graph.from_torch.student_graph import shape_of
from efq.toolchain.graph.operations import ChannelAffine, QuantizedConv2d, QuantizedLinear, SelectChannels
from efq.toolchain.graph.traversal import calls, module_of, producer, remove


@torch.no_grad()
def fold_selections(network: fx.GraphModule) -> None:
    """Rewrite in place."""
    for node, selection in calls(network, SelectChannels):
        assert isinstance(selection, SelectChannels)
        if not _is_whole(network, node, selection):
            continue
        affines = _affines_behind(network, node)
        readers = list((affines[-1] if affines else node).users)
        modules = [module_of(network, user) for user in readers]
        if not readers or not all(_takes_any_order(module) for module in modules):
            continue
        order = torch.tensor(selection.channels)
        for affine in affines:
            module = module_of(network, affine)
            assert isinstance(module, ChannelAffine)
            module.weight[order] = module.weight.clone()
            module.bias[order] = module.bias.clone()
        for module in {id(module): module for module in modules}.values():
            assert isinstance(module, QuantizedConv2d | QuantizedLinear)
            module.weight[:, order] = module.weight.clone()
        remove(network, node)


def _is_whole(network: fx.GraphModule, node: fx.Node, selection: SelectChannels) -> bool:
    return sorted(selection.channels) == list(range(shape_of(producer(node))[0]))


def _affines_behind(network: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    found: list[fx.Node] = []
    last = node
    while len(last.users) == 1 and isinstance(module_of(network, next(iter(last.users))), ChannelAffine):
        last = next(iter(last.users))
        found.append(last)
    return found


def _takes_any_order(module: object) -> bool:
    return isinstance(module, QuantizedLinear) or (isinstance(module, QuantizedConv2d) and module.groups == 1)
