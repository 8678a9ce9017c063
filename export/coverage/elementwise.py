"""What a network computes element by element: in integers, within a product's kernel, or in float, and its time."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Set

from efq.export.coverage.evidence import Evidence, ExecutedNode
from efq.export.coverage.flow import Flow

INTEGERS = "in integers"
FUSED = "within the kernel of a product, on its sums"
FLOAT_BETWEEN_BYTES = "in float, reading and writing bytes"
FLOAT_ISLAND = "a float island"

_OPERATIONS = frozenset(
    {
        "Add", "Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Max", "Min", "Mul", "PRelu", "QLinearAdd",
        "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QuickGelu", "Relu", "Sigmoid", "Tanh",
    }
)  # fmt: skip


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ElementwiseShare:
    """Nodes that compute the same `operations` in the same way, and their share (0 to 1) of the profiled time.

    `time_share` is None within a product, whose time it is part of. A float island's conversions are not in it.
    """

    operations: str
    nodes: int
    arithmetic: str
    time_share: float | None

    def __str__(self) -> str:
        time = "" if self.time_share is None else f", {self.time_share:.1%} of the time"
        return f"{self.nodes} x {self.operations}: {self.arithmetic}{time}"


def elementwise_shares(evidence: Evidence, flow: Flow, products: Set[str]) -> tuple[ElementwiseShare, ...]:
    """By kind, the slowest first; `products` are the names of the convolutions and matrix products."""
    total = sum(node.microseconds for node in evidence.nodes)
    islands, epilogue = ({node.name for node in nodes} for nodes in (flow.float_islands, flow.epilogue))
    groups: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
    for node in evidence.nodes:
        found = [operation for operation in node.operations or (node.op_type,) if operation in _OPERATIONS]
        if found and node.name not in epilogue:
            groups[" and ".join(found), _arithmetic(node, products, islands)].append(node.microseconds)
    shares = [
        ElementwiseShare(
            operations=operations,
            nodes=len(times),
            arithmetic=arithmetic,
            time_share=None if arithmetic == FUSED else sum(times) / total if total else 0.0,
        )
        for (operations, arithmetic), times in groups.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-(share.time_share or 0.0), share.operations)))


def float_time_share(evidence: Evidence, flow: Flow, products: Set[str]) -> float:
    """The share of the profiled time, 0 to 1, of float islands that are no products and of what leads to and from them.

    With it the nodes that compute in float between bytes.
    """
    total = sum(node.microseconds for node in evidence.nodes)
    names = {node.name for nodes in (flow.float_islands, flow.conversions) for node in nodes} - products
    floats = [node for node in evidence.nodes if node.name in names or _is_float_between_bytes(node, products)]
    return sum(node.microseconds for node in floats) / total if total else 0.0


def _arithmetic(node: ExecutedNode, products: Set[str], islands: Set[str]) -> str:
    if node.name in products:
        return FUSED
    if node.name in islands:
        return FLOAT_ISLAND
    return FLOAT_BETWEEN_BYTES if node.computes_in_float else INTEGERS


def _is_float_between_bytes(node: ExecutedNode, products: Set[str]) -> bool:
    is_elementwise = any(operation in _OPERATIONS for operation in node.operations)
    return node.computes_in_float and is_elementwise and node.name not in products
