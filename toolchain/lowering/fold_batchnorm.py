"""Fold each BatchNorm into the convolution or linear layer before it.

Requires: a traced graph. Ensures: no ChannelAffine directly behind a weighted operation that nothing else reads;
the float function is unchanged to rounding (Jacob et al. 2018, section 3.2).
"""

from __future__ import annotations

from torch import fx

from efq.toolchain.lowering.graph import PassResult, calls, module_of, producer, remove, scale_output
from efq.toolchain.operations import WEIGHTED, ChannelAffine


def fold_batchnorm(network: fx.GraphModule) -> PassResult:
    """Fold in place; the result counts the folded BatchNorms."""
    folded = 0
    for node, affine in calls(network, ChannelAffine):
        source = producer(node)
        weighted = module_of(network, source)
        if isinstance(weighted, WEIGHTED) and len(source.users) == 1:
            assert isinstance(affine, ChannelAffine)
            scale_output(weighted, affine.weight, affine.bias)
            remove(network, node)
            folded += 1
    network.recompile()
    return PassResult(changed=folded)
