"""A network as plain values, and back: one entry a node, with its kind, constructor arguments and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx, nn

from efq.toolchain.graph.operations import OPERATIONS, arguments_of
from efq.toolchain.graph.record import check_graph_record
from efq.toolchain.graph.traversal import to_channels_last

_KINDS = {kind.__name__: kind for kind in OPERATIONS}


def describe_graph(network: fx.GraphModule) -> list[dict[str, Any]]:
    """One entry a node, in execution order: its name, module name, kind, constructor arguments and inputs."""
    entries = []
    for node in network.graph.nodes:
        entry: dict[str, Any] = {"name": node.name, "inputs": [source.name for source in node.all_input_nodes]}
        if node.op == "call_module":
            module = network.get_submodule(str(node.target))
            assert type(module) in OPERATIONS, f"{type(module).__name__} is no operation of a student"
            entry |= {
                "layer": str(node.target),
                "kind": type(module).__name__,
                "arguments": plain_values(arguments_of(module)),
            }
        else:
            entry["kind"] = node.op
        entries.append(entry)
    return entries


def build_graph(entries: list[dict[str, Any]]) -> fx.GraphModule:
    """The network that `describe_graph` described, with weights still to be loaded.

    Raises ValueError for entries it cannot have made: they may come from a file of anyone's.
    """
    check_graph_record(entries, _KINDS)
    root, graph = nn.Module(), fx.Graph()
    nodes: dict[str, fx.Node] = {}
    network = fx.GraphModule(root, graph)
    for entry in entries:
        inputs = tuple(nodes[name] for name in entry["inputs"])
        if entry["kind"] == "placeholder":
            nodes[entry["name"]] = graph.placeholder(entry["name"])
        elif entry["kind"] == "output":
            graph.output(inputs[0])
        else:
            network.add_submodule(entry["layer"], _build(entry["kind"], entry["arguments"]))
            nodes[entry["name"]] = graph.create_node("call_module", entry["layer"], inputs, {}, entry["name"])
    built = fx.GraphModule(network, graph)
    to_channels_last(built)
    return built


def clone_network(network: fx.GraphModule) -> fx.GraphModule:
    """A network of its own with the same weights."""
    copy = build_graph(describe_graph(network))
    copy.load_state_dict(network.state_dict())
    return copy


def plain_values(value: Any) -> Any:
    """`value` with mappings as dicts and tuples as lists, as weights_only loading allows."""
    if isinstance(value, Mapping):
        return {str(key): plain_values(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain_values(item) for item in value]
    return value


def _build(kind: str, arguments: Mapping[str, Any]) -> nn.Module:
    options = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    return _KINDS[kind](**options)
