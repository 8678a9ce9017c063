"""Write PReLU as integer operations without approximation.

PReLU with slope a <= 1 is max(x, a * x): one depthwise 1x1 convolution and a maximum, which on tensors of one scale is
a maximum of bytes (docs/decisions/0009-prelu-as-a-maximum.md). A channel with a > 1 is mirrored first:
prelu(x, a) = -a * prelu(-x, 1 / a), the signs and the factor going into the layers around it.

Requires: a graph with folded BatchNorms; a PReLU with slopes above 1 stands between weighted operations.
Ensures: no PReLU; the float function is unchanged to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.operations import WEIGHTED, ChannelAffine, Maximum
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_input, scale_output
from efq.toolchain.graph.traversal import calls, insert_after, is_flat, module_of, producer, weighted_users


def exact_prelu(network: fx.GraphModule) -> PassResult:
    """Rewrite every PReLU in place.

    Raises LoweringError where one stands behind a linear layer, or where slopes above 1 cannot be mirrored.
    """
    rewritten = 0
    for node, module in calls(network, nn.PReLU):
        _require_maps(network, node)
        slopes = _mirror(network, node, module.get_parameter("weight").detach())
        _rewrite(network, node, slopes)
        rewritten += 1
    network.delete_all_unused_submodules()
    network.recompile()
    return PassResult(changed=rewritten)


def _require_maps(network: fx.GraphModule, node: fx.Node) -> None:
    """A depthwise convolution takes (N, C, H, W), not the (N, C) of a linear layer."""
    if is_flat(network, producer(node)):
        message = (
            f"cannot write {node.target!r} in integers: expected it behind a convolution, found it behind a linear "
            "layer; choose relu or leaky for it in the recipe"
        )
        raise LoweringError(message)


def _mirror(network: fx.GraphModule, node: fx.Node, slopes: Tensor) -> Tensor:
    """Mirror the channels with slopes above 1; returns slopes of at most 1."""
    steep = slopes > 1
    if not bool(steep.any()):
        return slopes
    source = producer(node)
    before, users = module_of(network, source), weighted_users(network, node)
    if not isinstance(before, WEIGHTED) or len(source.users) != 1 or users is None:
        message = (
            f"cannot write {node.target!r} in integers: {int(steep.sum())} of its slopes are above 1 and it does not "
            "stand between two weighted layers; choose relu or leaky for it in the recipe"
        )
        raise LoweringError(message)
    zeros, ones = torch.zeros_like(slopes), torch.ones_like(slopes)
    scale_output(before, torch.where(steep, -ones, ones), zeros)
    for _, user in users:
        scale_input(user, torch.where(steep, -slopes, ones), zeros)
    return torch.where(steep, 1 / slopes, slopes)


@torch.no_grad()
def _rewrite(network: fx.GraphModule, node: fx.Node, slopes: Tensor) -> None:
    source, name = producer(node), str(node.target)
    scaled = ChannelAffine(slopes.numel(), has_bias=False)
    scaled.weight.copy_(slopes)
    product = insert_after(network, node, f"{name}_slopes", scaled, (source,))
    larger = insert_after(network, product, f"{name}_maximum", Maximum(), (source, product))
    node.replace_all_uses_with(larger)
    network.graph.erase_node(node)
