"""Rules about where Q/DQ stands between operators: each pair left in the graph is a rounding step in some kernel.

The builder of TensorRT-RTX keeps all of these graphs in int8 and runs the steps in its pointwise kernels; full
TensorRT fuses convolution and activation only when nothing stands between them (NVIDIA's explicit quantization guide).
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, QUANTIZE, Graph, is_a, name_of, operand
from efq.export.targets.tensorrt.lint.quantizers import CONVOLUTIONS, PRODUCTS, quantize_of, readers, scale_key

_ACTIVATIONS = (
    *("Clip", "Elu", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish", "PRelu", "Relu", "Selu", "Sigmoid"),
    *("Softplus", "Swish", "Tanh"),
)


def quantized_before_activation(graph: Graph) -> Iterator[Finding]:
    """Convolution (and BatchNormalization), Q/DQ, activation."""
    yield from _between(graph, "quantized-before-activation", _ACTIVATIONS, over=("BatchNormalization",))


def quantized_before_batchnorm(graph: Graph) -> Iterator[Finding]:
    """Convolution, Q/DQ, BatchNormalization, which then can no longer be folded into the convolution.

    Q/DQ behind the BatchNormalization is right: the builder runs both in one pointwise kernel.
    """
    yield from _between(graph, "quantized-before-batchnorm", ("BatchNormalization",), over=())


def quantized_twice(graph: Graph) -> Iterator[Finding]:
    """Q/DQ behind Q/DQ of another scale. With equal scales the builder folds the second pair."""
    for node in graph.of_type(QUANTIZE):
        source = _producer(node)
        if source is not None and is_a(source, DEQUANTIZE) and scale_key(graph, source) != scale_key(graph, node):
            yield Finding(
                rule="quantized-twice",
                severity=Severity.SLOW,
                node=name_of(node),
                expected="one QuantizeLinear and DequantizeLinear on a tensor",
                found=f"a second pair, of another scale, behind {name_of(source)}",
                remedy="remove one pair and quantize with its scale",
            )


def residual_quantized_twice(graph: Graph) -> Iterator[Finding]:
    """Q/DQ on both branches of a residual addition, at least one of them for the addition alone."""
    for node in graph.of_type("Add"):
        values = [value for value in node.inputs if value is not None and graph.is_activation(value)]
        sources = [source for value in values if (source := value.producer()) is not None and is_a(source, DEQUANTIZE)]
        own = [source for source in sources if list(source.outputs[0].consumers()) == [node]]
        if len(sources) == 2 and own:
            yield Finding(
                rule="residual-quantized-twice",
                severity=Severity.SLOW,
                node=name_of(node),
                expected="Q/DQ on one branch, the shortcut",
                found=f"DequantizeLinear {name_of(sources[0])} and {name_of(sources[1])}",
                remedy=f"remove {name_of(own[-1])} and its QuantizeLinear",
            )


def requantized_around(graph: Graph) -> Iterator[Finding]:
    """Q/DQ of different scales on the two sides of Concat or Pad; on both sides of Resize with any scales.

    With one scale for all, Concat and Pad work on the integers. (A convolution that reads a Concat of different scales
    directly runs in float: weights.weight_only_convolution.)
    """
    for node in graph.of_type("Concat", "Pad", "Resize", "Upsample"):
        values = [value for value in node.inputs if value is not None and graph.is_activation(value)]
        before = [source for value in values if (source := value.producer()) is not None and is_a(source, DEQUANTIZE)]
        after = readers(node.outputs[0], QUANTIZE)
        scales = {scale_key(graph, pair) for pair in [*before, *after]}
        if before and after and (len(scales) > 1 or is_a(node, "Resize", "Upsample")):
            yield Finding(
                rule="requantized-around",
                severity=Severity.SLOW,
                node=name_of(node),
                expected=f"Q/DQ on one side of {node.op_type}, or one scale on both",
                found=f"Q/DQ on both sides, {len(scales)} different scale{'s' if len(scales) > 1 else ''}",
                remedy=f"remove Q/DQ before {node.op_type}"
                + ("" if is_a(node, "Resize", "Upsample") else ", or give all of them one scale"),
            )


def _between(graph: Graph, rule: str, readers_of: tuple[str, ...], *, over: tuple[str, ...]) -> Iterator[Finding]:
    for node in graph.of_type(DEQUANTIZE):
        following = readers(node.outputs[0], *readers_of)
        quantize = quantize_of(node)
        source = _producer(quantize) if quantize is not None else None
        while source is not None and is_a(source, *over):
            source = _producer(source)
        if quantize is not None and following and source is not None and is_a(source, *CONVOLUTIONS, *PRODUCTS):
            reader = f"{following[0].op_type} {name_of(following[0])}"
            yield Finding(
                rule=rule,
                severity=Severity.SLOW,
                node=name_of(quantize),
                expected=f"{reader} right behind {source.op_type} {name_of(source)}",
                found="QuantizeLinear and DequantizeLinear between them",
                remedy=f"quantize after {reader} only",
            )


def _producer(node: ir.Node) -> ir.Node | None:
    value = operand(node, 0)
    return value.producer() if value is not None else None
