"""Scale the channels of a tensor to one range, so that one scale a tensor wastes no bits on the widest channel.

An activation here is positively homogeneous (f(s * x) = s * f(x) for s > 0), so a channel's factor goes into the
layer before the activation and its inverse into the layers after (Nagel et al. 2019, section 4.1, with the ranges
measured on faces). One with an upper bound (ReLU6) is so below it: there channels are widened only, up to the widest,
which none of the faces takes beyond the bound.

Requires: a graph with folded BatchNorms; tensors between two weighted operations (an activation may stand between).
Ensures: the channels of each such tensor have equal ranges on the measured faces, behind a bound those that are not far
narrower; the float function is unchanged to rounding, of networks with bounds on those faces.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import WEIGHTED, ClippedRelu, LeakyRelu
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_input, scale_output
from efq.toolchain.graph.traversal import calls, module_of, weighted_users

_HOMOGENEOUS = (nn.ReLU, nn.PReLU, LeakyRelu)
_BOUNDED = (nn.ReLU6, ClippedRelu)
_MOST_WIDENED = 16.0  # a channel that is nearly dead on these faces may be wider on others, and would be cut off
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
        factors = _factors(module_of(network, last), ranges[node], ranges[last])
        scale_output(module, factors, torch.zeros_like(factors))
        for _, user in users:
            scale_input(user, 1 / factors, torch.zeros_like(factors))
        changed += 1
    network.recompile()
    return PassResult(changed=changed)


def _factors(activation: nn.Module | None, before: Tensor, behind: Tensor) -> Tensor:
    """For each channel (C,), of its ranges before and behind the activation."""
    if isinstance(activation, _BOUNDED):
        widths = torch.clamp(behind, min=float(behind.max()) / _MOST_WIDENED + 1e-12)
        return widths.max() / widths
    reach = behind if isinstance(activation, nn.ReLU) else torch.maximum(before, behind)
    widths = torch.clamp(reach, min=float(reach.max()) * _SMALLEST_SHARE + 1e-12)
    return widths.log().mean().exp() / widths


def _behind_activation(network: fx.GraphModule, node: fx.Node) -> fx.Node:
    """The activation that alone reads `node`, else `node` itself."""
    readers = list(node.users)
    if len(readers) == 1 and isinstance(module_of(network, readers[0]), (*_HOMOGENEOUS, *_BOUNDED)):
        return readers[0]
    return node


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
