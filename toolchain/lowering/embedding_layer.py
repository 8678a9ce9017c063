"""Write a last convolution that covers its whole input as the linear layer it is, so that its output can stay float32.

Requires: a traced graph with folded BatchNorms. Ensures: conv (kernel = input size, no padding, one group) -> Flatten
-> output becomes Flatten -> linear; the float function is unchanged to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp

from efq.toolchain.graph.operations import Flatten, QuantizedConv2d, QuantizedLinear
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, insert_after, module_of, producer


def linearize_embedding_layer(network: fx.GraphModule, example: Tensor) -> PassResult:
    """Rewrite in place; `example` uint8 (1, H, W, 3) gives the shapes."""
    changed = 0
    for node, _ in calls(network, Flatten):
        source = producer(node)
        convolution = module_of(network, source)
        feeds_output = [user.op for user in node.users] == ["output"]
        if feeds_output and isinstance(convolution, QuantizedConv2d) and len(source.users) == 1:
            ShapeProp(network).propagate(example)
            if _covers_input(convolution, producer(source).meta["tensor_meta"].shape):
                _rewrite(network, source, node, convolution)
                changed += 1
    network.recompile()
    return PassResult(changed=changed)


def _covers_input(convolution: QuantizedConv2d, shape: torch.Size) -> bool:
    return (
        tuple(shape[2:]) == tuple(convolution.kernel_size) and not any(convolution.padding) and convolution.groups == 1
    )


@torch.no_grad()
def _rewrite(network: fx.GraphModule, source: fx.Node, flatten: fx.Node, convolution: QuantizedConv2d) -> None:
    weight = convolution.weight.flatten(1)
    linear = QuantizedLinear(weight.shape[1], weight.shape[0])
    linear.weight.copy_(weight)
    assert convolution.bias is not None
    linear.bias.copy_(convolution.bias)
    name = f"{source.target}_linear"
    flatten.replace_input_with(source, producer(source))
    layer = insert_after(network, flatten, name, linear, (flatten,))
    flatten.replace_all_uses_with(layer, delete_user_cb=lambda user: user is not layer)
    network.graph.erase_node(source)
    network.delete_all_unused_submodules()
