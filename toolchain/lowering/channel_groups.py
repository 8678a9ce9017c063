"""Tensors whose channels are scaled together or not at all: what a layer gives, sums of it, activations of these.

A factor for each channel passes through an addition when both sides have it, and through activations that are
positively homogeneous (f(s * x) = s * f(x) for s > 0). It ends in the weights of the layers that write and read the
tensors.
"""

from __future__ import annotations

import dataclasses

from torch import fx, nn

from efq.toolchain.graph.operations import (
    WEIGHTED,
    Add,
    ClippedRelu,
    Crop,
    Flatten,
    GlobalAveragePool,
    LeakyRelu,
    Pad,
    WeightedOperation,
)
from efq.toolchain.graph.traversal import calls, module_of

SIGNED = (nn.PReLU, LeakyRelu)
BOUNDED = (nn.ReLU6, ClippedRelu)
ACTIVATIONS = (nn.ReLU, *SIGNED, *BOUNDED)
_MOVING = (Flatten, Crop, Pad, nn.MaxPool2d)
_PASSING = (*ACTIVATIONS, *_MOVING, Add, GlobalAveragePool)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChannelGroup:
    """`writers` and `readers` are the layers around the `tensors`, which hold values of their own (C channels)."""

    writers: tuple[WeightedOperation, ...]
    readers: tuple[WeightedOperation, ...]
    tensors: tuple[fx.Node, ...]


def channel_groups(network: fx.GraphModule) -> list[ChannelGroup]:
    """Every group of which all that writes or reads it is a weighted layer, in graph order."""
    groups, grouped = [], set[fx.Node]()
    for node, _ in calls(network, *WEIGHTED):
        if node in grouped:
            continue
        tied = _tied(network, node)
        grouped |= tied
        group = _group(network, tied)
        if group is not None:
            groups.append(group)
    return groups


def _tied(network: fx.GraphModule, start: fx.Node) -> set[fx.Node]:
    """All that has the channels of `start`: through what passes factors on, in both directions."""
    tied, waiting = set[fx.Node](), [start]
    while waiting:
        node = waiting.pop()
        if node in tied:
            continue
        tied.add(node)
        if isinstance(module_of(network, node), _PASSING):
            waiting.extend(node.all_input_nodes)
        if not isinstance(module_of(network, node), Flatten):  # behind it a channel has many places
            waiting.extend(user for user in node.users if isinstance(module_of(network, user), _PASSING))
    return tied


def _group(network: fx.GraphModule, tied: set[fx.Node]) -> ChannelGroup | None:
    """None where anything but layers writes or reads the tensors, or one is tied to what is behind a Flatten."""
    writers, readers, tensors = [], [], []
    for node in (node for node in network.graph.nodes if node in tied):
        module = module_of(network, node)
        if isinstance(module, WEIGHTED):
            writers.append(module)
        elif not isinstance(module, _PASSING) or (isinstance(module, Flatten) and not tied.isdisjoint(node.users)):
            return None
        for user in node.users:
            reader = module_of(network, user)
            if isinstance(reader, WEIGHTED):
                readers.append(reader)
            elif user not in tied:
                return None
        if not isinstance(module, _MOVING) and not _is_within_activation(network, node):
            tensors.append(node)
    if not readers:
        return None
    return ChannelGroup(writers=tuple(writers), readers=tuple(readers), tensors=tuple(tensors))


def _is_within_activation(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether an activation alone reads it: one kernel computes both."""
    readers = list(node.users)
    return len(readers) == 1 and isinstance(module_of(network, readers[0]), ACTIVATIONS)
