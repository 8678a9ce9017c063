"""Rules about the scales and zero points of QuantizeLinear and DequantizeLinear (NvInfer.h, IQuantizeLayer)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from efq.export.targets.tensorrt.lint.finding import Finding, Severity
from efq.export.targets.tensorrt.lint.graph import (
    DEQUANTIZE,
    LARGEST_FLOAT16,
    QUANTIZE,
    Array,
    Graph,
    is_a,
    name_of,
    operand,
)
from efq.export.targets.tensorrt.lint.quantizers import is_blocked, scale_of, weighted_operators

# The spacing of subnormal float16 is 2**-24, so rounding moves a scale above this by less than 1/256: half a step of
# an 8-bit grid at its end, which is what quantization itself may cost.
LEAST_FLOAT16_SCALE = 2.0**-17
LARGEST_ROUNDING = 1 / 256


def zero_point_not_zero(graph: Graph) -> Iterator[Finding]:
    """TensorRT's int8 is symmetric. Parse error "Non-zero zero point is not supported"."""
    for node, zero_point in _zero_points(graph):
        values = graph.constant(zero_point)
        if values is not None and values.astype(np.int32).any():
            yield Finding(
                rule="zero-point-not-zero",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="zero points of 0",
                found=f"zero point {values.ravel()[values.ravel().astype(np.int32) != 0][0]}",
                remedy="quantize symmetrically: int8, zero point 0, scale = largest magnitude / 127",
            )


def zero_point_not_constant(graph: Graph) -> Iterator[Finding]:
    """Build error "`zero_point` which is not an initializer"."""
    for node, zero_point in _zero_points(graph):
        if graph.constant(zero_point) is None:
            yield Finding(
                rule="zero-point-not-constant",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="zero points that are zeros in an initializer",
                found=f"zero point {zero_point.name}, which is known at run time only",
                remedy="make it an initializer of zeros",
            )


def zero_point_empty(graph: Graph) -> Iterator[Finding]:
    """A zero point left out by an empty name, not by two inputs: parse error "Invalid Node"."""
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        if len(node.inputs) > 2 and node.inputs[2] is None:
            yield Finding(
                rule="zero-point-empty",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="two inputs or a named zero point",
                found="a third input with an empty name",
                remedy="remove the empty input, or name an int8 zero point of 0",
            )


def scale_not_constant(graph: Graph) -> Iterator[Finding]:
    """SIGSEGV inside build_serialized_network when a convolution reads it; a float kernel in a matrix product."""
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        scale = operand(node, 1)
        if scale is not None and graph.constant(scale) is None:
            yield Finding(
                rule="scale-not-constant",
                severity=Severity.FATAL,
                node=name_of(node),
                expected="a scale that is an initializer, or arithmetic on initializers",
                found=f"scale {scale.name}, which is known at run time only",
                remedy="calibrate or train the scale and store it as an initializer",
            )


def scale_not_positive(graph: Graph) -> Iterator[Finding]:
    """Zero, negative or NaN: parse error "Scale coefficients must all be positive"."""
    for node, scale in _scales(graph):
        wrong = scale[~(scale > 0)]
        if wrong.size and not _was_positive(graph, node):
            yield Finding(
                rule="scale-not-positive",
                severity=Severity.REFUSED,
                node=name_of(node),
                expected="scales above 0",
                found=f"{_counted(wrong, scale)} at or below 0 or NaN, such as {float(wrong[0])}",
                remedy="give a channel of zeros any positive scale, such as its neighbours' mean",
            )


def scale_too_large(graph: Graph) -> Iterator[Finding]:
    """An infinite scale, or one with which 127 steps overflow float16: the builder takes it without a word."""
    for node, scale in _scales(graph):
        most = LARGEST_FLOAT16 / 127 if scale.dtype == np.float16 else float(np.finfo(np.float32).max)
        wrong = scale[scale > most]
        if wrong.size:
            yield Finding(
                rule="scale-too-large",
                severity=Severity.CLIPPED,
                node=name_of(node),
                expected=f"scales up to {most:.4g} in {scale.dtype}",
                found=f"{_counted(wrong, scale)} above, such as {float(wrong[0]):.4g}",
                remedy="search the range again, or keep the scale and what reads it in float32",
            )


def scale_subnormal(graph: Graph) -> Iterator[Finding]:
    """A scale too small for its type, or rounded away by a Cast.

    The parser takes subnormal scales, and folds a Cast that makes them 0 without a word.
    """
    for node, scale in _scales(graph):
        exact = _before_cast(graph, node)
        least = LEAST_FLOAT16_SCALE if scale.dtype == np.float16 else float(np.finfo(np.float32).tiny)
        wrong = (scale > 0) & (scale < least)
        if exact is not None:
            finite = np.isfinite(scale)
            wrong |= (exact > 0) & finite & (np.abs(scale - exact) > exact * LARGEST_ROUNDING)
        if wrong.any():
            example = float((scale if exact is None else exact)[wrong][0])
            yield Finding(
                rule="scale-subnormal",
                severity=Severity.CLIPPED,
                node=name_of(node),
                expected=f"scales of at least {least:.3g} in {scale.dtype}",
                found=f"{_counted(scale[wrong], scale)} too small, such as {example:.3g}",
                remedy=f"raise the scale to {least:.3g} before quantizing, or keep it in float32 and cast behind "
                "DequantizeLinear",
            )


def activation_scale_not_scalar(graph: Graph) -> Iterator[Finding]:
    """One scale a channel runs in float everywhere; a vector of one scale, behind which only a Conv does."""
    for operator in weighted_operators(graph):
        source = operator.data_source
        scale = scale_of(graph, source) if source is not None else None
        if source is None or scale is None or is_blocked(source):
            continue
        if scale.size > 1 or (scale.ndim and is_a(operator.node, "Conv")):
            yield Finding(
                rule="activation-scale-not-scalar",
                severity=Severity.FLOAT,
                node=name_of(source),
                expected=f"one scalar scale for the data of {operator.node.op_type} {name_of(operator.node)}",
                found=f"scales of shape {list(scale.shape)}",
                remedy="quantize activations per tensor and store the scale without dimensions",
            )


def weight_scale_one_element(graph: Graph) -> Iterator[Finding]:
    """A vector of one scale on a convolution's weight: build error const_ppg.cpp:1478 (a matrix product takes it)."""
    for operator in weighted_operators(graph):
        source = operator.weight_source
        scale = scale_of(graph, source) if source is not None else None
        if source is None or scale is None or not is_a(operator.node, "Conv") or is_blocked(source):
            continue
        channels = (graph.shape(operator.weight) or (None,))[0]
        if scale.shape == (1,) and channels != 1:
            yield Finding(
                rule="weight-scale-one-element",
                severity=Severity.REFUSED,
                node=name_of(source),
                expected=f"a scalar scale or {channels} scales",
                found="scales of shape [1]",
                remedy="quantize the weight per output channel, or store its one scale without dimensions",
            )


def _zero_points(graph: Graph) -> Iterator[tuple[ir.Node, ir.Value]]:
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        zero_point = operand(node, 2)
        if zero_point is not None:
            yield node, zero_point


def _scales(graph: Graph) -> Iterator[tuple[ir.Node, Array]]:
    """The quantizing and dequantizing nodes with their constant scales, which keep their own float type."""
    for node in graph.of_type(QUANTIZE, DEQUANTIZE):
        scale = scale_of(graph, node)
        if scale is not None:
            yield node, scale


def _before_cast(graph: Graph, node: ir.Node) -> Array | None:
    """The scales before the Cast that gives them their type, in float64; None without a Cast."""
    scale = operand(node, 1)
    producer = scale.producer() if scale is not None else None
    if producer is None or not is_a(producer, "Cast"):
        return None
    exact = graph.constant(operand(producer, 0))
    return None if exact is None else exact.astype(np.float64)


def _was_positive(graph: Graph, node: ir.Node) -> bool:
    """Whether a Cast made the scales 0, which is scale_subnormal's finding."""
    exact = _before_cast(graph, node)
    return exact is not None and bool((exact > 0).all())


def _counted(wrong: Array, scale: Array) -> str:
    return f"{wrong.size} of {scale.size} scales"
