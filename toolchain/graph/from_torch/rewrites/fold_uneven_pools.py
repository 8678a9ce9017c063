"""Compute the windows of several sizes of an adaptive pool within the linear layer that reads them flattened.

Requires: a student graph. Ensures: no nn.AdaptiveAvgPool2d in front of a Flatten that only linear layers read; their
weights are times the pool's own, as a VGG's classifier for images of another size is.
"""

from __future__ import annotations

import torch
from torch import fx, nn

from efq.toolchain.graph.from_torch.student_graph import keep_shape, shape_of
from efq.toolchain.graph.operations import Flatten, QuantizedLinear
from efq.toolchain.graph.traversal import calls, module_of, producer, remove


@torch.no_grad()
def fold_uneven_pools(network: fx.GraphModule) -> None:
    """Rewrite in place."""
    for node, pool in calls(network, nn.AdaptiveAvgPool2d):
        flattens = list(node.users)
        readers = [user for flatten in flattens for user in flatten.users]
        layers = [module_of(network, user) for user in readers]
        flat = all(isinstance(module_of(network, flatten), Flatten) for flatten in flattens)
        if not flat or not layers or not all(isinstance(layer, QuantizedLinear) for layer in layers):
            continue
        channels, height, width = shape_of(producer(node))
        pixels = torch.eye(height * width).reshape(height * width, 1, height, width)
        windows = pool(pixels).flatten(1).t()
        for layer in {id(layer): layer for layer in layers}.values():
            assert isinstance(layer, QuantizedLinear)
            weight = layer.weight.reshape(layer.out_features, channels, -1) @ windows
            layer.weight = nn.Parameter(weight.flatten(1))
            layer.in_features = channels * height * width
        for flatten in flattens:
            keep_shape(flatten, (channels * height * width,))
        remove(network, node)
