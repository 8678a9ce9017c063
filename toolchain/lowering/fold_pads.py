"""Take zeros around maps into the convolutions that read them.

A convolution pads both sides alike, so a Pad of unlike sides (TensorFlow's "SAME" with a stride) stays; a target writes
it as the pads of its own convolution.

Requires: a traced graph. Ensures: no Pad of nothing, none behind another that nothing else reads, and none of equal
sides that only convolutions read; the float function is unchanged.
"""

from __future__ import annotations

from torch import fx

from efq.toolchain.graph.operations import Pad, QuantizedConv2d
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, is_free, module_of, producer, remove


def fold_pads(network: fx.GraphModule) -> PassResult:
    """Fold in place."""
    folded = 0
    for node, pad in calls(network, Pad):
        assert isinstance(pad, Pad)
        _take_in(network, node, pad)
        readers = [module_of(network, user) for user in node.users]
        convolutions = [reader for reader in readers if isinstance(reader, QuantizedConv2d)]
        is_alike = pad.above == pad.below and pad.before == pad.behind
        if is_free(node) and (not any(pad.edges) or (is_alike and len(convolutions) == len(readers))):
            for convolution in convolutions:
                rows, columns = (int(size) for size in convolution.padding)
                convolution.padding = (rows + pad.above, columns + pad.before)
            remove(network, node)
            folded += 1
    network.delete_all_unused_submodules()
    network.recompile()
    return PassResult(changed=folded)


def _take_in(network: fx.GraphModule, node: fx.Node, pad: Pad) -> None:
    """The Pad before `node`, into it."""
    before = producer(node)
    first = module_of(network, before)
    if isinstance(first, Pad) and len(before.users) == 1:
        pad.above, pad.below = pad.above + first.above, pad.below + first.below
        pad.before, pad.behind = pad.before + first.before, pad.behind + first.behind
        remove(network, before)
