"""The graph of module calls that is made of an exported network, while it grows."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch.calls import described_call
from efq.toolchain.graph.from_torch.exporting.call_lines import line_of_call
from efq.toolchain.graph.from_torch.names import Names
from efq.toolchain.graph.operations import IMAGE_SCALE, IMAGE_ZERO_POINT, ChannelAffine, ImageInput
from efq.toolchain.graph.record import check_layer_name
from efq.toolchain.graph.source_lines import keep_line

_SHAPE, _ARITHMETIC = "shape", "arithmetic"


class StudentGraph:
    """Operations in the order of their calls; each node knows the shape of its output for one image."""

    def __init__(self, names: Names, image_name: str) -> None:
        self.network = fx.GraphModule(nn.Module(), fx.Graph())
        self.names = names
        self._input = self.network.graph.placeholder(image_name)

    def image(self, mean: tuple[float, ...], std: tuple[float, ...], shape: tuple[int, ...]) -> fx.Node:
        """uint8 images, normalized: what the network takes."""
        normalization = ChannelAffine(len(mean))
        with torch.no_grad():
            scale = torch.tensor(std, dtype=torch.float64)
            normalization.weight.copy_(1.0 / (IMAGE_SCALE * scale))
            normalization.bias.copy_((IMAGE_ZERO_POINT - torch.tensor(mean, dtype=torch.float64)) / scale)
        image = self.add(self.names.free("image_input"), ImageInput(), (self._input,), shape)
        return self.add(self.names.free("image_normalization"), normalization, (image,), shape)

    def call(self, call: fx.Node, module: nn.Module, inputs: tuple[fx.Node, ...], shape: tuple[int, ...]) -> fx.Node:
        """A call of `module`, the operation that the exported node `call` is."""
        return self._checked(call, self.names.layer(call), module, inputs, shape)

    def call_beside(
        self, call: fx.Node, suffix: str, module: nn.Module, inputs: tuple[fx.Node, ...], shape: tuple[int, ...]
    ) -> fx.Node:
        """A call of `module`, one of several operations that the exported node `call` is."""
        return self._checked(call, self.names.beside(call, suffix), module, inputs, shape)

    def add(self, name: str, module: nn.Module, inputs: tuple[fx.Node, ...], shape: tuple[int, ...]) -> fx.Node:
        """A call of `module` under `name`."""
        self.network.add_submodule(name, module.eval())
        node = self.network.graph.call_module(name, inputs)
        node.meta[_SHAPE] = shape
        return node

    def finish(self, embedding: fx.Node) -> fx.GraphModule:
        """The network whose output is `embedding`, without what that does not need."""
        self.network.graph.output(embedding)
        self.network.graph.eliminate_dead_code()
        self.network.delete_all_unused_submodules()
        return self.network

    def _checked(
        self, call: fx.Node, name: str, module: nn.Module, inputs: tuple[fx.Node, ...], shape: tuple[int, ...]
    ) -> fx.Node:
        _check_name(name)
        _check_numbers(call, module)
        node = self.add(name, module, inputs, shape)
        keep_line(node, line_of_call(call))
        return node


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of what a node computes for one image: (C, H, W) or (C,)."""
    shape: tuple[int, ...] = node.meta[_SHAPE]
    return shape


def keep_shape(node: fx.Node, shape: tuple[int, ...]) -> None:
    """Say the shape of what a new node computes for one image."""
    node.meta[_SHAPE] = shape


def mark_arithmetic(node: fx.Node) -> None:
    """Say that `node` is arithmetic with constants, no layer of the network."""
    node.meta[_ARITHMETIC] = True


def is_arithmetic(node: fx.Node) -> bool:
    """Whether a node is arithmetic with constants, no layer of the network."""
    return bool(node.meta.get(_ARITHMETIC))


def _check_name(name: str) -> None:
    """A student file holds the layers' names, and nothing but names."""
    try:
        check_layer_name(name)
    except ValueError as error:
        message = f"layer {name!r} cannot keep its name in a student: {error}; rename it"
        raise LoweringError(message) from error


def _check_numbers(call: fx.Node, module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        if isinstance(value, Tensor) and value.is_floating_point() and not bool(torch.isfinite(value).all()):
            message = (
                f"{described_call(call)} has NaN or infinity as its {name}: expected finite weights and variances of 0 "
                "or more; its training went wrong or the file is damaged"
            )
            raise LoweringError(message)
