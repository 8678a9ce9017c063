"""Small helpers over torch.fx graphs whose every node is a module call."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx, nn

from efq.toolchain.graph.operations import (
    WEIGHTED,
    Crop,
    Flatten,
    GlobalAveragePool,
    ImageInput,
    Multiply,
    Pad,
    QuantizedConv2d,
    QuantizedLinear,
    WeightedOperation,
)


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


def free_name(network: nn.Module, name: str) -> str:
    """`name`, or where a layer has it already `name` with a number behind."""
    parent, _, last = name.rpartition(".")
    owner, found, count = network.get_submodule(parent), last, 0
    while hasattr(owner, found):
        count += 1
        found = f"{last}_{count}"
    return f"{parent}.{found}" if parent else found


def insert_after(
    network: fx.GraphModule, node: fx.Node, name: str, module: nn.Module, inputs: tuple[fx.Node, ...]
) -> fx.Node:
    """A new node behind `node` that calls `module`, registered by the `free_name` of `name`, on `inputs`."""
    module.train(network.training)
    name = free_name(network, name)
    network.add_submodule(name, module)
    with network.graph.inserting_after(node):
        return network.graph.call_module(name, inputs)


def insert_behind(network: fx.GraphModule, node: fx.Node, name: str, module: nn.Module) -> fx.Node:
    """A new node that calls `module` (registered as `name`) on `node`; all that read `node` read the new one."""
    behind = insert_after(network, node, name, module, (node,))
    node.replace_all_uses_with(behind, delete_user_cb=lambda user: user is not behind)
    return behind


def share_modules(network: fx.GraphModule) -> fx.GraphModule:
    """A graph of its own over the same modules: rewriting it leaves `network` as it is."""
    graph = fx.Graph()
    graph.output(graph.graph_copy(network.graph, {}))
    return fx.GraphModule(network, graph)


def remove(network: fx.GraphModule, node: fx.Node) -> None:
    """Take a one-input node out: its users read its input instead."""
    node.replace_all_uses_with(producer(node))
    network.graph.erase_node(node)


def is_free(node: fx.Node) -> bool:
    """Whether a one-input node can be taken out: no operation would read one tensor twice then, which none does."""
    return not any(producer(node) in user.all_input_nodes for user in node.users)


def weighted_users(network: fx.GraphModule, node: fx.Node) -> list[tuple[fx.Node, WeightedOperation]] | None:
    """The weighted operations that read `node`, also through Flatten, Crop or Pad; None when anything else reads it."""
    found: list[tuple[fx.Node, WeightedOperation]] = []
    for user in node.users:
        module = module_of(network, user)
        if isinstance(module, WEIGHTED):
            found.append((user, module))
        elif isinstance(module, Flatten | Crop | Pad):
            deeper = weighted_users(network, user)
            if deeper is None:
                return None
            found.extend(deeper)
        else:
            return None
    return found or None


def is_flat(network: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a value is (N, C), what a Flatten or a linear layer gave, and not (N, C, H, W)."""
    while (module := module_of(network, node)) is not None:
        if isinstance(module, Flatten | QuantizedLinear):
            return True
        if isinstance(module, QuantizedConv2d | GlobalAveragePool | ImageInput):
            return False
        node = producer(node)
    return False


def gate_branches(network: fx.GraphModule) -> set[fx.Node]:
    """The nodes between a GlobalAveragePool, which is one of them, and a Multiply: values (N, C, 1, 1) of gates."""
    found: set[fx.Node] = set()
    for node, _ in calls(network, Multiply):
        for operand in node.all_input_nodes:
            found |= _pooled_branch(network, operand) or set()
    return found


def _pooled_branch(network: fx.GraphModule, node: fx.Node) -> set[fx.Node] | None:
    """`node` and all before it up to pools of whole maps; None where it depends on anything else."""
    branch: set[fx.Node] = set()
    waiting = [node]
    while waiting:
        current = waiting.pop()
        if current in branch:
            continue
        module = module_of(network, current)
        if module is None or isinstance(module, ImageInput):
            return None
        branch.add(current)
        if not isinstance(module, GlobalAveragePool):
            waiting.extend(current.all_input_nodes)
    return branch
