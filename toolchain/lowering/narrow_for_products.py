"""Let convolutions and matrix products read fewer bits than the elementwise operations around them.

What is added up or passed through a PReLU on a 4-bit grid loses far more than what is multiplied on one
(docs/decisions/0035-elementwise-on-bytes.md). A tensor that both kinds read gets a requantization for the products, a
depthwise 1x1 convolution of ones; so does a maximum, whose output has the grid of its operands.

Requires: a graph without PReLU and without quantizers. Ensures: each tensor between integer kernels is read by products
alone or by elementwise operations alone, unless it comes from a Flatten, Crop or MaxPool; the float function is
unchanged.
"""

from __future__ import annotations

from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp

from efq.toolchain.lowering.graph import PassResult, insert_after, module_of
from efq.toolchain.operations import (
    SCALE_PRESERVING,
    ChannelAffine,
    ImageInput,
    Maximum,
    QuantizedConv2d,
    QuantizedLinear,
)

_PRODUCTS = (QuantizedConv2d, QuantizedLinear)


def narrow_for_products(network: fx.GraphModule, example: Tensor) -> PassResult:
    """Insert the requantizations in place; `example` uint8 (1, H, W, 3) gives the shapes."""
    ShapeProp(network).propagate(example)
    changed = 0
    for node in list(network.graph.nodes):
        module = module_of(network, node)
        if module is None or isinstance(module, ImageInput):
            continue
        is_maximum = isinstance(module, Maximum)
        if isinstance(module, SCALE_PRESERVING) and not is_maximum:
            continue
        narrow = [user for user in node.users if feeds_products(network, user)]
        if narrow and (is_maximum or len(narrow) < len(node.users)):
            requantization = ChannelAffine(node.meta["tensor_meta"].shape[1], has_bias=False)
            behind = insert_after(network, node, f"{node.target}_narrow", requantization, (node,))
            for user in narrow:
                user.replace_input_with(node, behind)
            changed += 1
    network.recompile()
    return PassResult(changed=changed)


def feeds_products(network: fx.GraphModule, reader: fx.Node) -> bool:
    """Whether what `reader` takes is multiplied by a convolution or a linear layer, and used for nothing else."""
    module = module_of(network, reader)
    if isinstance(module, SCALE_PRESERVING) and not isinstance(module, Maximum):
        return all(feeds_products(network, user) for user in reader.users)
    return isinstance(module, _PRODUCTS)
