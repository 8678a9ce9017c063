"""A call of an ATen operation, as the tables of operators see it: its arguments by name, and how a user knows it."""

from __future__ import annotations

import dataclasses
from typing import Any, NoReturn

from torch import Tensor, fx

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch.exporting.call_lines import line_of_call
from efq.toolchain.graph.from_torch.exporting.export import module_path


@dataclasses.dataclass(frozen=True)
class Call:
    """A node of an exported graph."""

    node: fx.Node
    arguments: dict[str, Any]
    """By the names of its schema: a View or a tensor for what other nodes compute, plain values for the rest."""
    shape: tuple[int, ...]
    """Of its output, or of the first of them, the number of images in front."""

    @property
    def operation(self) -> str:
        """The name of the ATen operation, without the underscore of one that works in place."""
        return operation_of(self.node)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:
        """An argument that not every overload has."""
        return self.arguments.get(name, default)

    def refuse(self, reason: str = "") -> NoReturn:
        """Raises LoweringError: what the call is, where, the shape of its output, and `reason`."""
        refuse(self.node, reason)


def operation_of(node: fx.Node) -> str:
    """The name of the ATen operation of a node; of any other function its own name."""
    return operation_name(node.target)


def operation_name(target: Any) -> str:
    """The name of an ATen operation, or of any other function."""
    schema = getattr(target, "_schema", None)
    name = str(getattr(target, "__name__", target)) if schema is None else str(schema.name).split("::")[-1]
    return name.removesuffix("_") if schema is not None and not name.endswith("__") else name


def layer_of(node: fx.Node) -> tuple[str, str, str]:
    """Key of the call, path and class of the innermost module that a node belongs to; empty texts where none is."""
    stack = node.meta.get("nn_module_stack") or {}
    if not stack:
        return "", "", ""
    key, (path, kind) = list(stack.items())[-1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return str(key), module_path((str(path), kind)), kind


def described_call(node: fx.Node) -> str:
    """A node as a user knows it: the layer or the function, and the line."""
    _, path, kind = layer_of(node)
    place = line_of_call(node)
    operation = operation_of(node)
    if kind.startswith("torch.nn.") and path:
        name = f"layer {path!r} ({kind.rpartition('.')[2]})"
    else:
        name = f"the function {operation}()" + (f" in layer {path!r}" if path else "")
    return f"{name}{f' ({place})' if place else ''}"


def refuse(node: fx.Node, reason: str = "") -> NoReturn:
    """Raises LoweringError: what `node` is, where, the shape of its output for one image, and `reason`."""
    value = node.meta.get("val")
    shape = f", which gives {(1, *value.shape[1:])}," if isinstance(value, Tensor) and value.dim() else ""
    message = f"{described_call(node)}{shape} {reason or 'has no integer form'}"
    raise LoweringError(message)
