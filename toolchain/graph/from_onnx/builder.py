"""The torch graph that grows while an ONNX graph is walked: each call's shape is known as it is added.

Shapes are computed on torch's meta device, on which a tensor has a size but no memory, for a batch of `BATCH` images: a
prime above every other size, so that a number in the graph's arithmetic on shapes that is a multiple of it depends on
the batch, and no other number does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from efq.toolchain.graph.from_onnx.names import layer_name
from efq.toolchain.graph.from_onnx.refusal import OnnxRefusalError, refuse

BATCH = 1_048_583
LARGEST_SIZE = 2**20

_MOST_ELEMENTS = 2**28  # of one value, an image
_MOST_IN_ALL = 2**31
_MOST_CONSTANTS = 2**29  # numbers computed from constants, together
_MOST_MULTIPLY_ADDS = 2**38
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError, OverflowError, AssertionError)
_DAMAGED = "the file is damaged, or its image has another size than the graph was made for"


@dataclasses.dataclass(frozen=True, eq=False)
class Activation:
    """A value that depends on the image. Axis i of the ONNX graph is axis `axes[i]` of what `node` computes.

    A transposition is kept as `axes` until something needs the order: networks in NHWC have two for each convolution.
    """

    node: fx.Node
    axes: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """In the order of the ONNX graph; multiples of `BATCH` where it depends on the batch."""
        stored = shape_of(self.node)
        return tuple(stored[axis] for axis in self.axes)


Value = Activation | Tensor
Operand = fx.Node | Tensor


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Of what `node` computes, with `BATCH` images."""
    return tuple(node.meta["val"].shape)


def plain(node: fx.Node) -> Activation:
    """In the graph's own order of axes."""
    return Activation(node, tuple(range(len(shape_of(node)))))


class GraphBuilder:
    """Adds calls to `graph`, whose layers and constants are attributes of `root`; `notes` are for the user."""

    def __init__(self) -> None:
        self.root, self.graph = nn.Module(), fx.Graph()
        self.notes: list[str] = []
        self._elements = self._constant_elements = self._multiply_adds = 0
        self._constants: dict[int, tuple[Tensor, fx.Node]] = {}

    def image(self, channels: int, height: int, width: int) -> fx.Node:
        """The graph's input, (N, channels, height, width)."""
        node = self.graph.placeholder("images")
        node.meta["val"] = torch.empty(BATCH, channels, height, width, device="meta")
        return node

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """A call of `function` on nodes, tensors and plain values; computed at once where no node is among them.

        Raises OnnxRefusalError for shapes that do not fit, and for more numbers than any face network has.
        """
        found = self._shape(function, arguments, options)
        if function is torch.matmul:
            inner = _meta(arguments[0]).shape[-1]
            self._count(found.numel() * inner // (BATCH if found.numel() % BATCH == 0 else 1))
        if not _nodes(arguments):
            return function(*arguments, **options)
        arguments = map_aggregate(arguments, self._as_node)
        node = self.graph.call_function(function, arguments, options)
        node.meta["val"] = found
        return node

    def layer(self, module: nn.Module, source: fx.Node, candidates: Iterable[str] = ()) -> fx.Node:
        """A call of `module` on `source`, under the first of the names that is free. Raises as `call`."""
        tensors = {name: tensor.to("meta") for name, tensor in module.named_parameters()}
        tensors |= {name: tensor.to("meta") for name, tensor in module.named_buffers()}
        module.eval()

        def compute(values: Tensor) -> Any:
            return torch.func.functional_call(module, tensors, (values,))

        found = self._shape(compute, (source,), {})
        weight = getattr(module, "weight", None)
        if isinstance(module, nn.Conv2d | nn.Linear):
            self._count(found.numel() // BATCH * weight[0].numel())  # type: ignore[index]
        name = layer_name(self.root, candidates, type(module).__name__)
        add_layer(self.root, name, module)
        node = self.graph.call_module(name, (source,))
        node.meta["val"] = found
        return node

    def note(self, text: str) -> None:
        """Remember what the user is told, once."""
        if text not in self.notes:
            self.notes.append(text)

    def module_of(self, node: fx.Node) -> nn.Module | None:
        """What `node` calls, None where it is no layer."""
        return self.root.get_submodule(str(node.target)) if node.op == "call_module" else None

    def constant_of(self, value: Any) -> Tensor | None:
        """The numbers of a constant in a call: a node of the graph or a plain number."""
        if isinstance(value, int | float):
            return torch.tensor(float(value))
        if isinstance(value, fx.Node) and value.op == "get_attr":
            found: Tensor = getattr(self.root, str(value.target)).detach()
            return found
        return None

    def finish(self, output: fx.Node) -> fx.GraphModule:
        """The network, in eval mode."""
        self.graph.output(output)
        network = fx.GraphModule(self.root, self.graph, class_name="OnnxNetwork")
        network.graph.eliminate_dead_code()
        network.recompile()
        network.delete_all_unused_submodules()
        return network.eval()

    def _shape(self, function: Callable[..., Any], arguments: Any, options: Any) -> Tensor:
        try:
            with torch.no_grad():
                found = function(*map_aggregate(arguments, _meta), **options)
        except _ERRORS as error:
            reason = f"shapes that do not fit ({str(error).strip().splitlines()[0][:200] if str(error) else error!r})"
            raise OnnxRefusalError(reason, _DAMAGED) from error
        if not isinstance(found, Tensor):
            refuse(f"{type(found).__name__} for one tensor", "")
        depends = _nodes(arguments)
        elements = found.numel() // (BATCH if depends else 1)
        self._elements += elements
        self._constant_elements += 0 if depends else elements
        if (
            elements > _MOST_ELEMENTS
            or self._elements > _MOST_IN_ALL
            or self._constant_elements > _MOST_CONSTANTS
            or max(found.shape, default=0) > LARGEST_SIZE * BATCH
        ):
            shape = " x ".join("N" if size == BATCH else str(size) for size in found.shape)
            refuse(f"values of {shape}", "no face network has as many")
        return found

    def _count(self, multiply_adds: int) -> None:
        self._multiply_adds += multiply_adds
        if self._multiply_adds > _MOST_MULTIPLY_ADDS:
            refuse(f"more than {_MOST_MULTIPLY_ADDS:,} multiply-adds an image", "no face network has as many")

    def _as_node(self, value: Any) -> Any:
        """A constant as a parameter of the network, so that it trains where it is a scale."""
        if not isinstance(value, Tensor):
            return value
        known = self._constants.get(id(value))
        if known is None:
            name = f"constant_{len(self._constants)}"
            if value.is_floating_point():
                setattr(self.root, name, nn.Parameter(value.clone()))
            else:
                self.root.register_buffer(name, value.clone())
            node = self.graph.get_attr(name)
            node.meta["val"] = _meta(value)
            known = self._constants[id(value)] = (value, node)
        return known[1]


def add_layer(root: nn.Module, name: str, module: nn.Module) -> None:
    """Register `module` as `name`, with plain modules around it where the name has points."""
    *parents, last = name.split(".")
    for parent in parents:
        if not hasattr(root, parent):
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(last, module)


def filled(kind: type[nn.Module], *arguments: Any, tensors: dict[str, Tensor | None], **options: Any) -> Any:
    """A layer with these parameters and buffers; nothing is drawn at random for it."""
    module = kind(*arguments, **options, device="meta")
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if name in module._parameters:
            setattr(module, name, nn.Parameter(tensor.clone()))
        else:
            setattr(module, name, tensor.clone())
    return module


def _meta(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return value.meta["val"]
    return torch.empty(value.shape, dtype=value.dtype, device="meta") if isinstance(value, Tensor) else value


def _nodes(arguments: Any) -> bool:
    found = False

    def look(value: Any) -> Any:
        nonlocal found
        found = found or isinstance(value, fx.Node)
        return value

    map_aggregate(arguments, look)
    return found
