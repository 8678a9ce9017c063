"""Scale the channels of tensors to one range, so that one scale a tensor wastes no bits on the widest channel.

A channel's factor goes into the layers before a tensor and its inverse into the layers after (Nagel et al. 2019,
section 4.1, with the ranges measured on faces). Tensors that are summed have one factor a channel: what makes the
channel as wide as the widest in one of them, and wider in none. Behind an upper bound (ReLU6) channels are widened
only, so that none of the faces takes one beyond the bound.

Requires: a graph with folded BatchNorms. Ensures: no channel can be widened any more in all the tensors that share its
factor; where that is one tensor, all have equal ranges on the measured faces, behind a bound those that are not far
narrower; the float function is unchanged to rounding, of networks with bounds on those faces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_input, scale_output
from efq.toolchain.graph.traversal import module_of, producer
from efq.toolchain.lowering.channel_groups import BOUNDED, SIGNED, ChannelGroup, channel_groups

_MOST_WIDENED = 16.0  # a channel that is nearly dead on these faces may be wider on others, and would be cut off
_SMALLEST_SHARE = 1e-3  # of the tensor's widest channel: a dead channel is not blown up further


@torch.no_grad()
def equalize_channels(network: fx.GraphModule, images: Tensor) -> PassResult:
    """Equalize in place; `images` uint8 (N, H, W, 3) are the faces the ranges are measured on. Changed: groups."""
    ranges = _channel_ranges(network, images)
    groups = channel_groups(network)
    for group in groups:
        factors = _factors(network, group, ranges)
        for module in group.writers:
            scale_output(module, factors, torch.zeros_like(factors))
        for module in group.readers:
            scale_input(module, 1 / factors, torch.zeros_like(factors))
    network.recompile()
    return PassResult(changed=len(groups))


def _factors(network: fx.GraphModule, group: ChannelGroup, ranges: dict[fx.Node, Tensor]) -> Tensor:
    """For each channel (C,)."""
    room, bounded = [], False
    for node in group.tensors:
        module, reach = module_of(network, node), ranges[node]
        if isinstance(module, SIGNED):
            reach = torch.maximum(reach, ranges[producer(node)])
        bounded = bounded or isinstance(module, BOUNDED)
        smallest = 1 / _MOST_WIDENED if isinstance(module, BOUNDED) else _SMALLEST_SHARE
        widths = torch.clamp(reach, min=float(reach.max()) * smallest + 1e-12)
        room.append(widths.max() / widths)
    factors = torch.stack(room).amin(0)
    return factors if bounded else factors / factors.log().mean().exp()


def _channel_ranges(network: fx.GraphModule, images: Tensor) -> dict[fx.Node, Tensor]:
    """The largest absolute value of each channel (C,) at each node."""
    ranges: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.op == "call_module":
                largest = result.abs().transpose(0, 1).flatten(1).amax(1)
                ranges[n] = torch.maximum(ranges[n], largest) if n in ranges else largest
            return result

    for batch in torch.split(images, 32):
        Recorder(network).run(batch)
    return ranges
