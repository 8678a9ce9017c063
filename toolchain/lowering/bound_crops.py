"""Give each crop the bounds that its map has, where it is written as "to the end" or counted from there.

Requires: a traced graph. Ensures: every Crop has bounds between 0 and its map's size; one that takes off nothing is
gone. The float function is unchanged.
"""

from __future__ import annotations

from torch import Tensor, fx
from torch.fx.passes.shape_prop import ShapeProp

from efq.toolchain.graph.operations import Crop
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import calls, is_free, producer, remove


def bound_crops(network: fx.GraphModule, example: Tensor) -> PassResult:
    """Rewrite in place; `example` uint8 (1, H, W, 3) gives the shapes."""
    changed = 0
    if any(True for _ in calls(network, Crop)):
        ShapeProp(network).propagate(example)
    for node, crop in calls(network, Crop):
        assert isinstance(crop, Crop)
        height, width = (int(size) for size in producer(node).meta["tensor_meta"].shape[2:])
        before = (crop.top, crop.bottom, crop.left, crop.right)
        crop.top, crop.bottom, _ = slice(crop.top, crop.bottom).indices(height)
        crop.left, crop.right, _ = slice(crop.left, crop.right).indices(width)
        found = (crop.top, crop.bottom, crop.left, crop.right)
        if found == (0, height, 0, width) and is_free(node):
            remove(network, node)
        changed += found != before
    network.delete_all_unused_submodules()
    network.recompile()
    return PassResult(changed=changed)
