"""Fold each BatchNorm into the convolution or linear layer before it.

Requires: a traced graph. Ensures: no ChannelAffine behind a weighted operation that nothing else reads, directly or
with a Flatten of 1x1 maps between them; the float function is unchanged to rounding (Jacob et al. 2018, section 3.2).
"""

from __future__ import annotations

from torch import fx

from efq.toolchain.graph.operations import WEIGHTED, ChannelAffine, Flatten
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.scaling import scale_output
from efq.toolchain.graph.traversal import calls, module_of, producer, remove


def fold_batchnorm(network: fx.GraphModule) -> PassResult:
    """Fold in place; the result counts the folded BatchNorms."""
    folded = 0
    for node, affine in calls(network, ChannelAffine):
        assert isinstance(affine, ChannelAffine)
        source = producer(node)
        if isinstance(module_of(network, source), Flatten) and len(source.users) == 1:
            source = producer(source)
        weighted = module_of(network, source)
        fits = isinstance(weighted, WEIGHTED) and weighted.weight.shape[0] == affine.weight.numel()
        if weighted is not None and fits and len(source.users) == 1:
            scale_output(weighted, affine.weight, affine.bias)
            remove(network, node)
            folded += 1
    network.recompile()
    return PassResult(changed=folded)
