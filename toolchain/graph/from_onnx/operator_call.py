"""One node of an ONNX graph as its handler sees it: what it reads, and its attributes whatever the opset calls them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from onnx import AttributeProto, NodeProto, TensorProto
from torch import Tensor, fx, nn

from efq.toolchain.graph.from_onnx.builder import Activation, GraphBuilder, Operand, Value, plain
from efq.toolchain.graph.from_onnx.names import candidates_of
from efq.toolchain.graph.from_onnx.refusal import refuse


def _as_written(value: float) -> float:
    """The shortest decimal of a float32: an epsilon of 1e-3, stored as 0.0010000000474974513, is 1e-3 again."""
    return float(str(np.float32(value)))


_READERS: dict[int, Callable[[AttributeProto], Any]] = {
    AttributeProto.FLOAT: lambda attribute: _as_written(attribute.f),
    AttributeProto.INT: lambda attribute: int(attribute.i),
    AttributeProto.STRING: lambda attribute: attribute.s.decode("utf-8", "replace"),
    AttributeProto.TENSOR: lambda attribute: attribute.t,
    AttributeProto.FLOATS: lambda attribute: [float(value) for value in attribute.floats],
    AttributeProto.INTS: lambda attribute: [int(value) for value in attribute.ints],
}
_MOST_NUMBERS = 2**20
_OF_TRAINING = frozenset({"momentum"})
Kind = TypeVar("Kind")


class OperatorCall:
    """`inputs` are None where the node leaves them out. opset: of the file. fixed_batch: its images, None where free.

    read_once: whether the output of the node that made an input is read by this node alone.
    """

    def __init__(
        self,
        node: NodeProto,
        inputs: Sequence[Value | None],
        builder: GraphBuilder,
        *,
        opset: int,
        fixed_batch: int | None,
        read_once: Sequence[bool],
        tensor_of: Callable[[TensorProto], Tensor],
    ) -> None:
        self.node, self.inputs, self.builder = node, list(inputs), builder
        self.opset, self.fixed_batch, self.read_once = opset, fixed_batch, read_once
        self._tensor_of = tensor_of
        self._attributes = {attribute.name: attribute for attribute in node.attribute}
        self._unread = set(self._attributes) - _OF_TRAINING

    def attribute(self, name: str, default: Kind) -> Kind:
        """Of the type of `default`. Raises OnnxRefusalError for one of another type."""
        self._unread.discard(name)
        attribute = self._attributes.get(name)
        if attribute is None:
            return default
        reader = _READERS.get(attribute.type)
        found: Any = reader(attribute) if reader and not attribute.ref_attr_name else None
        kind = type(default)
        if type(found) is not kind or (isinstance(found, list) and len(found) > _MOST_NUMBERS):
            reason = f"the attribute {name[:40]!r} of another type than {kind.__name__}"
            refuse(reason, "the file is damaged: fetch it again")
        return found

    def has(self, name: str) -> bool:
        """Whether the attribute is there."""
        return name in self._attributes

    def tensor_attribute(self, name: str) -> Tensor:
        """Raises OnnxRefusalError for another type."""
        return self._tensor_of(self.attribute(name, TensorProto()))

    def ignore(self, *names: str) -> None:
        """Attributes that change nothing."""
        self._unread -= set(names)

    def check_attributes(self) -> None:
        """Raises OnnxRefusalError for an attribute that its handler did not look at: it may change everything."""
        if self._unread:
            name = sorted(self._unread)[0][:40]
            refuse(f"the attribute {name!r}, which is not known here", "export with a lower opset")

    def value(self, place: int) -> Value | None:
        """None where it is left out."""
        return self.inputs[place] if place < len(self.inputs) else None

    def needed(self, place: int) -> Value:
        """Raises OnnxRefusalError where it is left out."""
        found = self.value(place)
        if found is None:
            refuse(f"no input {place}", "the file is damaged: fetch it again")
        return found

    def constant(self, place: int, what: str) -> Tensor:
        """Raises OnnxRefusalError where it depends on the image, saying `what` it should be."""
        found = self.needed(place)
        if isinstance(found, Activation):
            refuse(f"{what} computed from the image", f"{what} has to be constant")
        return found

    def activation(self, place: int) -> Activation:
        """An input that depends on the image. Raises OnnxRefusalError for a constant."""
        found = self.needed(place)
        if not isinstance(found, Activation):
            refuse("a constant where the image's values are expected", "simplify the graph: onnxsim")
        return found

    def numbers(self, name: str, place: int) -> list[int] | None:
        """Whole numbers that are an attribute in old opsets and an input in new ones; None where neither is there."""
        if self.has(name):
            return self.attribute(name, [0])
        if self.value(place) is None:
            return None
        return whole_numbers(self.constant(place, name), name)

    def ordered(self, value: Activation) -> fx.Node:
        """What `value` is, its axes in the order of the ONNX graph."""
        if value.axes == tuple(range(len(value.axes))):
            return value.node
        node: fx.Node = self.builder.call(torch.permute, value.node, list(value.axes))
        return node

    def operand(self, value: Value) -> Operand:
        """A tensor, or the node of an activation in the order of the ONNX graph."""
        return self.ordered(value) if isinstance(value, Activation) else value

    def result(self, operand: Any) -> Value:
        """What `builder.call` gave, as a value in the order of the ONNX graph."""
        return plain(operand) if isinstance(operand, fx.Node) else operand

    def call(self, function: Callable[..., Any], *values: Any, **options: Any) -> Value:
        """`function` on values in the order of the ONNX graph and plain arguments."""
        operands = [self.operand(value) if isinstance(value, Activation) else value for value in values]
        return self.result(self.builder.call(function, *operands, **options))

    def layer(self, module: nn.Module, source: fx.Node, axes: tuple[int, ...] | None = None) -> Activation:
        """A layer on `source`, named as its weights or the node are; `axes` of the result, in order where left out."""
        made = self.builder.layer(module, source, self.names())
        return plain(made) if axes is None else Activation(made, axes)

    def names(self) -> list[str]:
        """For the layer."""
        return candidates_of(self.node.input, self.node.name)


def whole_numbers(tensor: Tensor, what: str) -> list[int]:
    """Raises OnnxRefusalError for others."""
    if tensor.dtype != torch.int64 or tensor.numel() > _MOST_NUMBERS or tensor.dim() > 1:
        refuse(f"{what} that are no list of whole numbers", "the file is damaged: fetch it again")
    return [int(value) for value in tensor.reshape(-1)]


def axis_of(axis: int, rank: int) -> int:
    """An axis from 0 on. Raises OnnxRefusalError for one that is not there."""
    if not -rank <= axis < rank:
        refuse(f"axis {axis} of {rank}", "the file is damaged: fetch it again")
    return axis % rank
