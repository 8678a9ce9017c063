"""Scale the channels of a tensor to one range, so that one scale a tensor wastes no bits on the widest channel.

Every activation here is positively homogeneous (f(s * x) = s * f(x) for s > 0), so a channel's factor goes into the
layer before the activation and its inverse into the layers after (Nagel et al. 2019, section 4.1, with the ranges
measured on faces).

Requires: a graph with folded BatchNorms; tensors between two weighted operations (an activation may stand between).
Ensures: the channels of each such tensor have equal ranges on the measured faces; the float function is unchanged to
rounding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import WEIGHTED, LeakyRelu
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_input, scale_output
from efq.toolchain.graph.traversal import calls, module_of, weighted_users

_HOMOGENEOUS = (nn.ReLU, nn.PReLU, LeakyRelu)
_SMALLEST_SHARE = 1e-3  # of the tensor's widest channel: a dead channel is not blown up further


@torch.no_grad()
def equalize_channels(network: fx.GraphModule, images: Tensor) -> PassResult:
    """Equalize in place; `images` uint8 (N, H, W, 3) are the faces the ranges are measured on."""
    ranges = _channel_ranges(network, images)
    changed = 0
    for node, module in calls(network, *WEIGHTED):
        last = _behind_activation(network, node)
        users = weighted_users(network, last)
        if users is None:
            continue
        reach = torch.maximum(ranges[node], ranges[last]) if _keeps_sign(network, last) else ranges[last]
        widths = torch.clamp(reach, min=float(reach.max()) * _SMALLEST_SHARE + 1e-12)
        factors = widths.log().mean().exp() / widths
        scale_output(module, factors, torch.zeros_like(factors))
        for _, user in users:
            scale_input(user, 1 / factors, torch.zeros_like(factors))
        changed += 1
    network.recompile()
    return PassResult(changed=changed)


def _behind_activation(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The activation that alone reads `node`, else `node` itself."""
    readers = list(node.users)
    if len(readers) == 1 and isinstance(module_of(network, readers[0]), _HOMOGENEOUS):
        return readers[0]
    return node


def _keeps_sign(network: fx.GraphModule, node: fx.Node) -> bool:
    return not isinstance(module_of(network, node), nn.ReLU)


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
