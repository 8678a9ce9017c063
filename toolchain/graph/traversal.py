"""Small helpers over torch.fx graphs whose every node is a module call."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, fx, nn

from efq.toolchain.graph.operations import ChannelAffine, Crop, Flatten, QuantizedConv2d, QuantizedLinear


@dataclasses.dataclass(frozen=True, kw_only=True)
class PassResult:
    """What a lowering pass did: how many nodes it changed, and lines a user should read."""

    changed: int
    notes: tuple[str, ...] = ()


def to_channels_last(network: nn.Module) -> None:
    """Lay out every convolution's weight as oneDNN and cuDNN like it best; the function is unchanged."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module a node calls, None for the graph's input and output."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def calls(network: fx.GraphModule, *kinds: type[nn.Module]) -> Iterator[tuple[fx.Node, nn.Module]]:
    """The nodes that call a module of one of `kinds`, in graph order, as it stands now."""
    for node in list(network.graph.nodes):
        module = module_of(network, node)
        if module is not None and isinstance(module, kinds):
            yield node, module


def producer(node: fx.Node) -> fx.Node:
    """The node whose output is the first input of `node`."""
    return node.all_input_nodes[0]


def replace_module(network: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Let `node` call `module` under its old name."""
    module.train(network.training)
    network.add_submodule(str(node.target), module)


def insert_after(
    network: fx.GraphModule, node: fx.Node, name: str, module: nn.Module, inputs: tuple[fx.Node, ...]
) -> fx.Node:
    """A new node behind `node` that calls `module` (registered as `name`) on `inputs`."""
    module.train(network.training)
    network.add_submodule(name, module)
    with network.graph.inserting_after(node):
        return network.graph.call_module(name, inputs)


def remove(network: fx.GraphModule, node: fx.Node) -> None:
    """Take a one-input node out: its users read its input instead."""
    node.replace_all_uses_with(producer(node))
    network.graph.erase_node(node)


def weighted_users(
    network: fx.GraphModule, node: fx.Node
) -> list[tuple[fx.Node, QuantizedConv2d | QuantizedLinear | ChannelAffine]] | None:
    """The weighted operations that read `node`, also through Flatten or Crop; None when anything else reads it."""
    found: list[tuple[fx.Node, QuantizedConv2d | QuantizedLinear | ChannelAffine]] = []
    for user in node.users:
        module = module_of(network, user)
        if isinstance(module, QuantizedConv2d | QuantizedLinear | ChannelAffine):
            found.append((user, module))
        elif isinstance(module, Flatten | Crop):
            deeper = weighted_users(network, user)
            if deeper is None:
                return None
            found.extend(deeper)
        else:
            return None
    return found or None


@torch.no_grad()
def scale_output(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Replace f(x) of a weighted operation by weight[c] * f(x) + bias[c]; `weight`, `bias` (C,)."""
    assert isinstance(module, QuantizedConv2d | QuantizedLinear | ChannelAffine)
    assert module.bias is not None
    module.weight.mul_(weight.reshape(-1, *[1] * (module.weight.dim() - 1)))
    module.bias.mul_(weight).add_(bias)


@torch.no_grad()
def scale_input(module: nn.Module, weight: Tensor, bias: Tensor) -> None:
    """Replace f(x) of a weighted operation by f(weight[c] * x + bias[c]), exact away from zero padding.

    `weight`, `bias` (C,) over the input channels; a layer behind a Flatten has C * H * W inputs.
    """
    assert isinstance(module, QuantizedConv2d | QuantizedLinear | ChannelAffine)
    assert module.bias is not None
    if isinstance(module, ChannelAffine):
        positions = module.weight.numel() // weight.numel()
        module.bias.add_(module.weight * bias.repeat_interleave(positions))
        module.weight.mul_(weight.repeat_interleave(positions))
        return
    factors, offsets = _input_terms(module, weight), _input_terms(module, bias)
    module.bias.add_((module.weight * offsets).flatten(1).sum(1))
    module.weight.mul_(factors)


def _input_terms(module: QuantizedConv2d | QuantizedLinear, values: Tensor) -> Tensor:
    """`values` (C,) laid out to broadcast against the weight's input channels."""
    if isinstance(module, QuantizedLinear):
        return values.repeat_interleave(module.in_features // values.numel())[None]
    outputs, per_group = module.weight.shape[:2]
    grouped = values.reshape(module.groups, per_group).repeat_interleave(outputs // module.groups, 0)
    return grouped[:, :, None, None]
