"""The integer coverage report: what of a network runs in integer kernels, by the runtime's own evidence."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from efq.export.coverage.count import WeightedNode, weighted_nodes
from efq.export.coverage.elementwise import ElementwiseShare, elementwise_shares, float_time_share
from efq.export.coverage.evidence import Evidence, ExecutedNode
from efq.export.coverage.flow import Flow, trace_flow
from efq.runtime.errors import CoverageError

_MOST_SHOWN = 10  # of a kind of nodes that is expected; float ones are all named


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class IntegerCount:
    """How many of `total` are `integer`, that is run in an integer kernel."""

    integer: int
    total: int

    @property
    def fraction(self) -> float:
        """The integer part, 0 to 1; 1 when there is nothing to count."""
        return self.integer / self.total if self.total else 1.0

    def __str__(self) -> str:
        return f"{self.integer:,} of {self.total:,} ({_percent(self.fraction, self.integer == self.total)})"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class NodeShare:
    """A node, the elements of its first output for one image, and its share (0 to 1) of the profiled time.

    0 elements and no time where a runtime does not say.
    """

    name: str
    op_type: str
    elements: int
    time_share: float | None

    def __str__(self) -> str:
        known = f": {self.elements:,} elements" if self.elements else ""
        return f"{self.op_type} {self.name}{known}" + (
            "" if self.time_share is None else f", {self.time_share:.1%} of the time"
        )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class OpTypeShare:
    """The nodes of one operator type and their share (0 to 1) of the profiled time, None without a profile."""

    op_type: str
    domain: str
    nodes: int
    time_share: float | None

    def __str__(self) -> str:
        share = "" if self.time_share is None else f"{self.time_share:6.1%}  "
        return f"{share}{self.nodes:4d} x {self.op_type}"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class CoverageReport:
    """What runs in integer kernels. Multiply-adds are those of one image.

    float_islands: nodes that read and write float activations before the last convolution or matrix product.
    float_products: convolutions and matrix products whose operands are not both 8-bit (most are float islands too).
    conversions: nodes before the last product that go between float and integer activations.
    images: of the profile; 0 where the runtime only listed its kernels.
    layout_changes: transposes and reorders of activations, integer or float.
    epilogue: what follows the last product and touches float: the embedding's dequantization and its normalization.
    elementwise: activations, sums, products of two tensors: how each kind is computed. float_time_share: of the time,
    what float islands that are no products take, conversions, and what is computed in float between bytes; None
    without a profile.
    """

    runtime: str
    images: int
    convolutions: IntegerCount
    matrix_products: IntegerCount
    multiply_adds: IntegerCount
    op_types: tuple[OpTypeShare, ...]
    float_islands: tuple[NodeShare, ...]
    float_products: tuple[NodeShare, ...]
    conversions: tuple[NodeShare, ...]
    layout_changes: tuple[NodeShare, ...]
    epilogue: tuple[NodeShare, ...]
    elementwise: tuple[ElementwiseShare, ...] = ()
    float_time_share: float | None = None

    @property
    def convolution_fraction(self) -> float:
        """Convolutions in integer kernels, 0 to 1."""
        return self.convolutions.fraction

    @property
    def matrix_product_fraction(self) -> float:
        """Matrix products in integer kernels, 0 to 1."""
        return self.matrix_products.fraction

    @property
    def multiply_add_fraction(self) -> float:
        """Multiply-adds of convolutions and matrix products in integer kernels, 0 to 1."""
        return self.multiply_adds.fraction

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            field.name: [dataclasses.asdict(item) for item in value] if isinstance(value, tuple) else _plain(value)
            for field in dataclasses.fields(self)
            for value in (getattr(self, field.name),)
        }

    def __str__(self) -> str:
        """A page of text that names every float island."""
        lines = [
            f"Integer coverage ({self.runtime}{f', profile of {self.images} images' if self.images else ''})",
            f"  convolutions     {self.convolutions}",
            f"  matrix products  {self.matrix_products}",
            f"  multiply-adds    {self.multiply_adds} for one image",
        ]
        for title, nodes in (
            ("float islands", self.float_islands),
            ("float products", self.float_products),
            ("conversions", self.conversions),
            ("layout changes", self.layout_changes),
            ("epilogue (embedding)", self.epilogue),
        ):
            lines.append(f"  {title}: {len(nodes) or 'none'}")
            shown = nodes if title.startswith("float") else nodes[:_MOST_SHOWN]
            lines += [f"    {node}" for node in shown]
            if len(shown) < len(nodes):
                lines.append(f"    and {len(nodes) - len(shown)} more")
        lines.append(f"  elementwise operations: {len(self.elementwise) or 'none'}")
        lines += [f"    {share}" for share in self.elementwise]
        if self.float_time_share is not None:
            lines.append(f"  in float, conversions included: {self.float_time_share:.1%} of the time")
        lines.append("  time by operator:" if self.images else "  kernels by kind:")
        lines += [f"    {share}" for share in self.op_types]
        return "\n".join(lines)

    def check(self, *, allow_float: bool) -> None:
        """Raises CoverageError naming the float nodes when a multiply-add is not integer and that was not allowed."""
        if allow_float or self.multiply_adds.integer == self.multiply_adds.total:
            return
        names = "\n".join(f"  {share.op_type} {share.name}" for share in self._float_nodes())
        message = (
            f"expected every multiply-add in an integer kernel, found {self.multiply_adds} in {self.runtime}. "
            f"These nodes are not integer:\n{names}\n"
            "Choose a recipe without them (activations `relu`, `leaky` or `prelu`, a quantizer on every tensor that a "
            "convolution, linear layer or addition reads, unsigned activations on CPUs), or pass --allow-float"
        )
        raise CoverageError(message)

    def _float_nodes(self) -> list[NodeShare]:
        return list(dict.fromkeys((*self.float_products, *self.float_islands)))


def coverage_report(evidence: Evidence) -> CoverageReport:
    """What of the network ran in integer kernels, by what its runtime says.

    Raises CoverageError when the evidence holds products that cannot be counted, or none.
    """
    products = weighted_nodes(evidence)
    names = {product.node.name for product in products}
    flow = trace_flow(evidence, names)
    total = sum(node.microseconds for node in evidence.nodes)

    def shares(nodes: Iterable[ExecutedNode]) -> tuple[NodeShare, ...]:
        return tuple(_node_share(node, evidence, total) for node in nodes)

    return CoverageReport(
        runtime=evidence.runtime,
        images=evidence.batch,
        convolutions=_count(product for product in products if product.is_convolution),
        matrix_products=_count(product for product in products if not product.is_convolution),
        multiply_adds=_multiply_adds(products, evidence.batch),
        op_types=_op_types(evidence, total),
        float_products=shares(product.node for product in products if not product.is_integer),
        **{field.name: shares(getattr(flow, field.name)) for field in dataclasses.fields(Flow)},
        elementwise=elementwise_shares(evidence, flow, names),
        float_time_share=float_time_share(evidence, flow, names),
    )


def _count(products: Iterable[WeightedNode]) -> IntegerCount:
    flags = [product.is_integer for product in products]
    return IntegerCount(integer=sum(flags), total=len(flags))


def _multiply_adds(products: Sequence[WeightedNode], batch: int) -> IntegerCount:
    """For one image; a remainder, of products that do not grow with the batch, counts as float."""
    integer = sum(product.multiply_adds for product in products if product.is_integer)
    total = sum(product.multiply_adds for product in products)
    return IntegerCount(integer=integer // batch, total=-(-total // batch))


def _node_share(node: ExecutedNode, evidence: Evidence, total: float) -> NodeShare:
    return NodeShare(
        name=node.name,
        op_type=node.op_type,
        elements=evidence.tensors[node.outputs[0]].elements // evidence.batch,
        time_share=node.microseconds / total if total else 0.0,
    )


def _op_types(evidence: Evidence, total: float) -> tuple[OpTypeShare, ...]:
    groups: dict[tuple[str, str], list[float]] = collections.defaultdict(list)
    for node in evidence.nodes:
        groups[node.domain, node.op_type].append(node.microseconds)
    shares = [
        OpTypeShare(op_type=op_type, domain=domain, nodes=len(times), time_share=sum(times) / total if total else 0.0)
        for (domain, op_type), times in groups.items()
    ]
    return tuple(sorted(shares, key=lambda share: (-(share.time_share or 0.0), share.op_type)))


def _plain(value: Any) -> Any:
    return {**dataclasses.asdict(value), "fraction": value.fraction} if isinstance(value, IntegerCount) else value


def _percent(fraction: float, complete: bool) -> str:
    """Never rounds up to 100 %."""
    return "100 %" if complete else f"{min(fraction * 100, 99.99):.2f} %"
