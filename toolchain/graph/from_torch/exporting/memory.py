"""Tensors that a graph changes in place, and reads again by another name.

In an exported graph a tensor that is changed is read from then on as the result of that change; but a view of it, taken
before, is still the view of the tensor as it was.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx


def changes_what_is_read_again(graph: fx.Graph) -> bool:
    """Whether some node reads memory that another changed, not through the result of that change."""
    memory: dict[fx.Node, fx.Node] = {}
    current: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        for source in node.all_input_nodes:
            owner = memory.get(source, source)
            if owner in current and source not in current[owner]:
                return True
        inputs = node.all_input_nodes
        changes, shares = _aliasing(node)
        if inputs and (changes or shares):
            owner = memory[node] = memory.get(inputs[0], inputs[0])
            if changes:
                current[owner] = {node}
            elif owner in current:
                current[owner].add(node)
    return False


def _aliasing(node: fx.Node) -> tuple[bool, bool]:
    """Whether a call changes its first input, and whether its result may be in the memory of that."""
    if node.target is torch.ops.aten.contiguous.default or node.target is torch.ops.aten.reshape.default:
        return False, True
    schema: Any = getattr(node.target, "_schema", None)
    if schema is None:
        return False, node.op == "call_function" and "getitem" in str(node.target)
    infos = [argument.alias_info for argument in schema.arguments if argument.alias_info is not None]
    changes = any(info.is_write for info in infos)
    return changes, bool(infos) or _may_return_its_input(schema)


def _may_return_its_input(schema: Any) -> bool:
    return schema.name in ("aten::flatten", "aten::to", "aten::dropout", "aten::feature_dropout", "aten::expand_as")
