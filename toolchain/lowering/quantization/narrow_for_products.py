"""Let convolutions and matrix products read fewer bits than the elementwise operations around them.

What is added up or passed through a PReLU on a 4-bit grid loses far more than what is multiplied on one; on a 6-bit
grid only sums do (docs/decisions/0035-elementwise-on-bytes.md). A tensor that both kinds read gets a requantization for
the products, a depthwise 1x1 convolution of ones; so does the maximum of a PReLU on 8 bits, which has the grid of its
operands. A gate and what it is computed from have 8 bits: they are small.

Requires: exact PReLUs as maxima, no quantizers. Ensures: each tensor between integer kernels is read by those that take
few bits or by those that take 8, unless it comes from a Flatten, Crop, MaxPool or a maximum on few bits; the float
function is unchanged.
"""

from __future__ import annotations

from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp

from efq.toolchain.graph.operations import (
    SCALE_PRESERVING,
    ChannelAffine,
    ImageInput,
    Maximum,
    QuantizedConv2d,
    QuantizedLinear,
)
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import gate_branches, insert_after, module_of

_PRODUCTS = (QuantizedConv2d, QuantizedLinear)


def narrow_for_products(network: fx.GraphModule, example: Tensor, *, prelus: bool) -> PassResult:
    """Insert the requantizations in place; `example` uint8 (1, H, W, 3) gives the shapes.

    `prelus`: PReLUs take 8 bits as sums do.
    """
    ShapeProp(network).propagate(example)
    gates = gate_branches(network)
    changed = 0
    for node in list(network.graph.nodes):
        module = module_of(network, node)
        if module is None or isinstance(module, ImageInput) or node in gates:
            continue
        is_maximum = isinstance(module, Maximum)
        if isinstance(module, SCALE_PRESERVING) and not (is_maximum and prelus):
            continue
        narrow = [user for user in node.users if takes_few_bits(network, user, prelus=prelus)]
        if narrow and (is_maximum or len(narrow) < len(node.users)):
            requantization = ChannelAffine(node.meta["tensor_meta"].shape[1], has_bias=False)
            behind = insert_after(network, node, f"{node.target}_narrow", requantization, (node,))
            for user in narrow:
                user.replace_input_with(node, behind)
            changed += 1
    network.recompile()
    return PassResult(changed=changed)


def takes_few_bits(network: fx.GraphModule, reader: fx.Node, *, prelus: bool) -> bool:
    """Whether what `reader` takes is for a convolution or a linear layer to multiply, and for nothing else.

    Unless `prelus` take 8 bits, it may as well be an exact PReLU that takes it: a maximum, or its slopes.
    """
    module = module_of(network, reader)
    if isinstance(module, Maximum):
        return not prelus
    if isinstance(module, ChannelAffine) and not prelus:
        return all(isinstance(module_of(network, user), Maximum) for user in reader.users)
    if isinstance(module, SCALE_PRESERVING):
        return all(takes_few_bits(network, user, prelus=prelus) for user in reader.users)
    return isinstance(module, _PRODUCTS)
