"""What the tables of operators write into: the student graph, its reader, and elementwise operations on both."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_torch.alignment import align, channelwise, spread
from efq.toolchain.graph.from_torch.calls import Call
from efq.toolchain.graph.from_torch.reading import Reader
from efq.toolchain.graph.from_torch.student_graph import StudentGraph, mark_arithmetic, shape_of
from efq.toolchain.graph.from_torch.views import View
from efq.toolchain.graph.operations import ChannelAffine


@dataclasses.dataclass(frozen=True)
class Context:
    """Where the operations that a call becomes go."""

    graph: StudentGraph
    reader: Reader
    batch: int

    def maps(self, view: View, call: Call) -> fx.Node:
        """A node that computes `view` as (N, C, H, W). Raises LoweringError where there is none."""
        if len(view.shape) != 3:
            call.refuse(f"reads a tensor of {(1, *view.shape)}: expected maps, (1, C, H, W)")
        return self.reader.node(view, call.node)

    def features(self, view: View, call: Call) -> fx.Node:
        """A node that computes `view` as (N, C). Raises LoweringError where there is none."""
        if len(view.shape) != 1:
            call.refuse(f"reads a tensor of {(1, *view.shape)}: expected features, (1, C)")
        return self.reader.node(view, call.node)

    def layer(self, call: Call, module: nn.Module, source: fx.Node) -> View:
        """The operation of `call` on maps or features, whose output has the shape that the call's has."""
        return View(self.graph.call(call.node, module, (source,), call.shape[1:]))

    def elementwise(self, call: Call, module: nn.Module, views: Sequence[View]) -> View:
        """An operation on each number, of one tensor or of several."""
        nodes, where = align(views, call, self.reader)
        shape = max((shape_of(node) for node in nodes), key=lambda sizes: (len(sizes), *sizes))
        node = self.graph.call(call.node, module, nodes, shape)
        return dataclasses.replace(where, source=node)

    def on_channels(self, call: Call, view: View, numbers: Sequence[Any], make: ChannelModule) -> View:
        """An operation with numbers for each channel: `make` of them, each a tensor (C,).

        Each of `numbers` is a number or a tensor that is broadcast to the output of `call`. Raises LoweringError where
        it is not one number a channel.
        """
        view = spread(view, call.shape[1:], call)
        if not _may_stay(view):
            view = View(self.reader.node(view, call.node))
        constants = [torch.as_tensor(number, dtype=torch.float64) for number in numbers]
        found = [channelwise(constant, view, call) for constant in constants]
        if any(number is None for number in found) and view.places is not None and len(view.shape) in (1, 3):
            view = View(self.reader.node(view, call.node))
            found = [channelwise(constant, view, call) for constant in constants]
        if any(number is None for number in found):
            call.refuse("reads a constant that differs by rows and columns: expected one number for each channel")
        module = make(*[number for number in found if number is not None])
        node = self.graph.call(call.node, module, (view.source,), shape_of(view.source))
        return dataclasses.replace(view, source=node)

    def affine(self, call: Call, view: View, weight: Any, bias: Any) -> View:
        """weight * x + bias, numbers or tensors that are broadcast to the output of `call`."""
        result = self.on_channels(call, view, (weight, bias), channel_affine)
        if "batch_norm" not in call.operation:
            mark_arithmetic(result.source)
        return result


ChannelModule = Callable[..., nn.Module]


@torch.no_grad()
def channel_affine(weight: Tensor, bias: Tensor) -> ChannelAffine:
    """ChannelAffine of `weight` (C,) and `bias` (C,)."""
    result = ChannelAffine(len(weight))
    result.weight.copy_(weight)
    result.bias.copy_(bias)
    return result


def _may_stay(view: View) -> bool:
    """Whether an operation on channels is done on the source, where the view only moves all of its numbers."""
    return view.places is None or len(view.shape) not in (1, 3) or (len(view.shape) == 3 and view.is_whole)
