"""The one walk over a network's graph: every node once, in order, by the handler of its operation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import fx, nn

from efq.runtime.errors import UsageError
from efq.toolchain.graph.traversal import module_of

Value = TypeVar("Value")
Entry = TypeVar("Entry")


@dataclasses.dataclass(frozen=True)
class Call:
    """A node that calls a module."""

    node: fx.Node
    module: Any
    """Of the kind that the handler is for."""

    @property
    def name(self) -> str:
        """The layer's name."""
        return str(self.node.target)


Handler = Callable[[Call, list[Value]], Value]
"""From a call and the values of its inputs to the value of its output."""


def walk(network: fx.GraphModule, images: Value, handlers: Mapping[type[nn.Module], Handler[Value]]) -> Value:
    """The value of the network's output, its input's being `images`; each call by the handler of its operation's kind.

    A kind without a handler of its own has that of the nearest class it derives from; `nn.Module` stands for all.
    Raises UsageError naming an operation without a handler.
    """
    values: dict[fx.Node, Value] = {}
    for node in network.graph.nodes:
        inputs = [values[source] for source in node.all_input_nodes]
        module = module_of(network, node)
        if node.op == "placeholder":
            values[node] = images
        elif module is None:
            return inputs[0]
        else:
            values[node] = of_kind(module, handlers)(Call(node, module), inputs)
    message = "the graph has no output"
    raise AssertionError(message)


def of_kind(module: nn.Module, table: Mapping[type[nn.Module], Entry]) -> Entry:
    """The table's entry for the kind of `module`, or for the nearest it derives from. Raises UsageError without one."""
    for kind in type(module).__mro__:
        if kind in table:
            return table[kind]
    message = f"{type(module).__name__} has no form here: expected one of {', '.join(k.__name__ for k in table)}"
    raise UsageError(message)
