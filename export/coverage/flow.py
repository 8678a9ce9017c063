"""Where activations leave the integers: float islands, conversions, layout changes and the epilogue."""

from __future__ import annotations

import dataclasses
from collections.abc import Set

from efq.export.coverage.evidence import Evidence, ExecutedNode

_LAYOUT_OPS = frozenset({"Transpose", "Reorder", "ReorderInput", "ReorderOutput"})


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """The nodes of each kind, in the order of the optimized graph (see CoverageReport for what each holds)."""

    float_islands: tuple[ExecutedNode, ...]
    conversions: tuple[ExecutedNode, ...]
    layout_changes: tuple[ExecutedNode, ...]
    epilogue: tuple[ExecutedNode, ...]


def trace_flow(evidence: Evidence, products: Set[str]) -> Flow:
    """Sort the nodes that touch float activations; `products` are the names of the convolutions and matrix products.

    A tensor is an activation when it depends on the graph's input; weights dequantized at run time are none.
    """
    activations = _activations(evidence)
    before_last = _nodes_before_a_product(evidence, products)
    islands, conversions, layouts, epilogue = [], [], [], []
    for node in evidence.nodes:
        inputs = _are_float(node.inputs, activations, evidence)
        outputs = _are_float(node.outputs, activations, evidence)
        if not inputs or not outputs:
            continue
        if node.op_type in _LAYOUT_OPS:
            layouts.append(node)
        elif not any(inputs + outputs):
            continue
        elif node.name not in before_last:
            epilogue.append(node)
        elif any(inputs) and any(outputs):
            islands.append(node)
        elif node.name not in products:
            conversions.append(node)
    return Flow(
        float_islands=tuple(islands),
        conversions=tuple(conversions),
        layout_changes=tuple(layouts),
        epilogue=tuple(epilogue),
    )


def _activations(evidence: Evidence) -> Set[str]:
    found = {evidence.graph_input}
    for node in evidence.nodes:
        if found.intersection(node.inputs):
            found.update(node.outputs)
    return found


def _nodes_before_a_product(evidence: Evidence, products: Set[str]) -> Set[str]:
    """The products themselves and every node whose outputs reach one."""
    needed: set[str] = set()
    names: set[str] = set()
    for node in reversed(evidence.nodes):
        if node.name in products or needed.intersection(node.outputs):
            names.add(node.name)
            needed.update(node.inputs)
    return names


def _are_float(tensors: tuple[str, ...], activations: Set[str], evidence: Evidence) -> list[bool]:
    return [evidence.tensors[name].is_float for name in tensors if name in activations and name in evidence.tensors]
