"""Rules about shapes, the opset and where tensors are stored."""

from __future__ import annotations

import math
from collections.abc import Iterator

import onnx_ir as ir

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, Graph, is_a, name_of, operand
from efq.export.targets.tensorrt.lint.quantizers import (
    PRODUCTS,
    WeightedOperator,
    is_blocked,
    is_per_channel,
    weighted_operators,
)

FEWEST_CHANNELS = 16  # of an int8 tensor-core kernel (ModelOpt leaves narrower operators in float)
_OLDEST_OPSET = 7


def narrow_operator(graph: Graph) -> Iterator[Finding]:
    """Fewer than 16 input or output channels, padded up to 16; the first layer and depthwise convolutions aside.

    The builder runs them in int8, with extra kernels that replicate and slice.
    """
    seen = _operators_behind_another(graph)
    for operator in weighted_operators(graph):
        channels = _channels(graph, operator)
        depthwise = (
            is_a(operator.node, "Conv") and channels[:1] == (1,) and operator.node.attributes.get_int("group", 1) > 1
        )
        first = is_a(operator.node, "Conv") and operator.node not in seen
        if operator.is_quantized and channels and min(channels) < FEWEST_CHANNELS and not depthwise:
            if first and channels[1] >= FEWEST_CHANNELS:
                continue
            yield Finding(
                rule="narrow-operator",
                severity=Severity.SLOW,
                node=name_of(operator.node),
                expected=f"at least {FEWEST_CHANNELS} input and output channels (of a group)",
                found=f"{channels[0]} input and {channels[1]} output channels",
                remedy="leave this operator in float16, or widen it",
            )


def dynamic_dimension(graph: Graph) -> Iterator[Finding]:
    """A dimension beside the batch that is not fixed: build error without a profile for it."""
    for value in graph.inputs:
        shape = graph.shape(value)
        free = [axis for axis, size in enumerate(shape or ()) if size is None and axis > 0]
        if free:
            yield Finding(
                rule="dynamic-dimension",
                severity=Severity.REFUSED,
                node=str(value.name),
                expected="a batch that may vary and fixed dimensions behind it",
                found=f"a free dimension at axis {', '.join(map(str, free))}",
                remedy="fix the image size in the graph's input; profiles are made for the batch only",
            )


def input_without_shape(graph: Graph) -> Iterator[Finding]:
    """Parse error "The input tensor shape misaligns with the input kernel shape"."""
    for value in graph.inputs:
        if graph.shape(value) is None:
            yield Finding(
                rule="input-without-shape",
                severity=Severity.REFUSED,
                node=str(value.name),
                expected="an input with a shape, its batch symbolic",
                found="an input of unknown rank",
                remedy="write the input's shape into the graph",
            )


def fixed_batch(graph: Graph) -> Iterator[Finding]:
    """Build error "has static dimensions that don't match" for every profile but the fixed batch itself."""
    for value in graph.inputs:
        shape = graph.shape(value)
        if shape and shape[0] is not None:
            yield Finding(
                rule="fixed-batch",
                severity=Severity.REFUSED,
                node=str(value.name),
                expected="a symbolic batch, as first dimension",
                found=f"a batch fixed at {shape[0]}",
                remedy="export with a symbolic batch, which profiles then bound",
            )


def opset_too_old(graph: Graph) -> Iterator[Finding]:
    """Opsets below 7 are not guaranteed (the parser warns), those up to 30 parse.

    The parser reads `axis` before opset 13, float16 scales before 19 and `block_size` before 21 as if they were
    defined; ONNX and ONNX Runtime, which decides parity, do not.
    """
    nodes = list(graph.of_type(QUANTIZE, DEQUANTIZE))
    needed = {node: _opset_of(graph, node) for node in nodes}
    late = [node for node in nodes if needed[node] > graph.opset]
    if late or graph.opset < _OLDEST_OPSET:
        yield Finding(
            rule="opset-too-old",
            severity=Severity.REFUSED,
            node=name_of(late[0]) if late else "opset_import",
            expected=f"opset {max([needed[node] for node in late], default=_OLDEST_OPSET)} or newer",
            found=f"opset {graph.opset}",
            remedy="convert the model with onnx.version_converter, or export again with a newer opset",
        )


def external_data(graph: Graph) -> Iterator[Finding]:
    """Tensors stored outside the model that are not there: parse error "Failed to import initializer"."""
    for value in graph.initializers:
        tensor = value.const_value
        if not isinstance(tensor, ir.ExternalTensor):
            continue
        path = graph.folder / tensor.location if graph.folder is not None else None
        if path is None or not path.is_file() or path.stat().st_size < (tensor.offset or 0) + (tensor.length or 0):
            yield Finding(
                rule="external-data",
                severity=Severity.REFUSED,
                node=str(value.name),
                expected="the tensor's values in the model or in a file beside it",
                found=f"{tensor.location}, which is {'not loaded' if path is None else 'missing or too short'}",
                remedy="put the file beside the model, or save the model with its tensors inside",
            )


def _channels(graph: Graph, operator: WeightedOperator) -> tuple[int, int] | tuple[()]:
    """Input and output channels: of one group, for a convolution the inputs of one group and all outputs."""
    shape = [size for size in graph.shape(operator.weight) or () if size is not None]
    if len(shape) < 2:
        return ()
    if is_a(operator.node, *PRODUCTS):
        output = operator.output_axis
        return math.prod(shape[-2:]) // shape[output], shape[output]
    return (shape[1], shape[0]) if is_a(operator.node, "Conv") else (shape[0], shape[1])


def _operators_behind_another(graph: Graph) -> frozenset[ir.Node]:
    """The convolutions and products that depend on another one."""
    reached: set[ir.Value] = set()
    found: set[ir.Node] = set()
    weighted = {operator.node for operator in weighted_operators(graph)}
    for node in graph.nodes:
        behind = bool(reached.intersection(value for value in node.inputs if value is not None))
        if behind and node in weighted:
            found.add(node)
        if behind or node in weighted:
            reached.update(node.outputs)
    return frozenset(found)


def _opset_of(graph: Graph, node: ir.Node) -> int:
    """The opset that first defines `node` with what it has (the versions of ONNX's QuantizeLinear)."""
    if node.domain:
        return 0
    if is_blocked(node):
        return 21
    scale = operand(node, 1)
    if scale is not None and graph.dtype(scale) != ir.DataType.FLOAT:
        return 19
    return 13 if is_per_channel(graph, node) else 10
