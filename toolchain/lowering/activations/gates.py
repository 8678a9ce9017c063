"""Gates and swishes as what integer kernels compute (docs/decisions/0051-gates-and-swishes.md).

hardsigmoid(x) = min(max(x / 6 + 1 / 2, 0), 1) (Howard et al. 2019): behind a weighted layer, the slope and the shift go
into that layer, and what is left is the clamp of its quantizer. hardswish(x) = x * hardsigmoid(x) and
silu(x) = x * sigmoid(x) are products of bytes; runtimes that fuse the whole activation into a convolution get it back.
"""

from __future__ import annotations

import itertools

import torch
from torch import fx, nn

from efq.toolchain.graph.operations import WEIGHTED, ClippedRelu, Multiply
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_output
from efq.toolchain.graph.traversal import calls, insert_after, module_of, producer, replace_module
from efq.toolchain.quantizers import ActivationQuantizer

_GATES: dict[type[nn.Module], type[nn.Module]] = {nn.Hardswish: nn.Hardsigmoid, nn.SiLU: nn.Sigmoid}
_SWISHES = {gate: swish for swish, gate in _GATES.items()}


@torch.no_grad()
def fold_hard_gates(network: fx.GraphModule) -> PassResult:
    """Clamps for the Hardsigmoids behind weighted layers that nothing else reads, in place.

    Requires: a graph with folded BatchNorms. Ensures: the float function is unchanged to rounding.
    """
    folded = 0
    for node, _ in calls(network, nn.Hardsigmoid):
        before = module_of(network, producer(node))
        is_embedding = any(user.op == "output" for user in node.users)
        if not isinstance(before, WEIGHTED) or len(producer(node).users) > 1 or is_embedding:
            continue
        channels = before.weight.new_ones(before.weight.shape[0])
        scale_output(before, channels / 6, channels / 2)
        replace_module(network, node, ClippedRelu(1.0))
        folded += 1
    network.recompile()
    return PassResult(changed=folded)


def split_swishes(network: fx.GraphModule) -> PassResult:
    """Products with a gate for Hardswish and SiLU, in place; the float function is unchanged to rounding."""
    split = 0
    for node, swish in calls(network, *_GATES):
        source, name = producer(node), str(node.target)
        gate = insert_after(network, source, f"{name}_gate", _GATES[type(swish)](), (source,))
        product = insert_after(network, gate, f"{name}_product", Multiply(), (source, gate))
        node.replace_all_uses_with(product)
        network.graph.erase_node(node)
        split += 1
    network.delete_all_unused_submodules()
    network.recompile()
    return PassResult(changed=split)


def join_swishes(network: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """The contrary of `split_swishes`, in place, without quantizers or with one behind the gate: each swish by product.

    Of the product its node is left alone, which is no longer in the graph.
    """
    joined: dict[fx.Node, fx.Node] = {}
    for product, _ in calls(network, Multiply):
        for source, gate in itertools.permutations(product.all_input_nodes):
            between = [gate]
            if isinstance(module_of(network, gate), ActivationQuantizer):
                between.append(producer(gate))
            function = module_of(network, between[-1])
            kind = None if function is None else _SWISHES.get(type(function))
            if kind is None or producer(between[-1]) is not source or any(len(node.users) > 1 for node in between):
                continue
            name = str(product.target).removesuffix("_product")
            joined[product] = insert_after(network, product, f"{name}_joined", kind(), (source,))
            product.replace_all_uses_with(joined[product])
            for node in (product, *between):
                network.graph.erase_node(node)
            break
    return joined
