"""Rules about the values of float constants."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import DEQUANTIZE, LARGEST_FLOAT16, QUANTIZE, Graph, is_a, name_of, operand

_FLOATS = {DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16, DataType.DOUBLE}
_MAY_BE_INFINITE = ("Clip", "Pad", "Max", "Min", "Where", QUANTIZE, DEQUANTIZE)  # bounds; scales have their own rules


def constant_not_finite(graph: Graph) -> Iterator[Finding]:
    """An infinite or NaN weight, bias or slope: the builder takes it, and the embedding becomes NaN."""
    for node in graph.nodes:
        if is_a(node, *_MAY_BE_INFINITE, "Cast"):
            continue
        for value in node.inputs:
            if value is None or not _is_stored_float(graph, value):
                continue
            values = graph.constant(value)
            wrong = 0 if values is None else int((~np.isfinite(values)).sum())
            if wrong:
                yield Finding(
                    rule="constant-not-finite",
                    severity=Severity.CLIPPED,
                    node=name_of(node),
                    expected=f"finite values in {value.name}",
                    found=f"{wrong} infinite or NaN",
                    remedy="find where it overflowed (above 65504 in float16) and keep that part in float32",
                )


def constant_beyond_float16(graph: Graph) -> Iterator[Finding]:
    """A constant that a Cast to float16 makes infinite: folded without a word."""
    for node in graph.of_type("Cast"):
        source = operand(node, 0)
        if source is None or node.attributes.get_int("to", 0) != DataType.FLOAT16 or _only_scales(node):
            continue
        values = graph.constant(source)
        largest = float(np.abs(values.astype(np.float64)).max(initial=0)) if values is not None else 0.0
        if largest > LARGEST_FLOAT16:
            yield Finding(
                rule="constant-beyond-float16",
                severity=Severity.CLIPPED,
                node=name_of(node),
                expected=f"magnitudes up to {LARGEST_FLOAT16:g}",
                found=f"{largest:g} in {source.name}",
                remedy="keep the operator that reads it in float32, or rescale the layer",
            )


def _is_stored_float(graph: Graph, value: ir.Value) -> bool:
    producer = value.producer()
    stored = value.const_value is not None or (producer is not None and is_a(producer, "Constant"))
    return stored and graph.dtype(value) in _FLOATS


def _only_scales(node: ir.Node) -> bool:
    """Whether only quantizers read the node's output: scales have rules of their own."""
    return all(is_a(reader, QUANTIZE, DEQUANTIZE) for reader in node.outputs[0].consumers())
