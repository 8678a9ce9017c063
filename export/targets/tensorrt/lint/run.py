"""Find in an ONNX graph what TensorRT refuses, silently runs in float, silently clips, or crashes on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import onnx

import efq.export.targets.tensorrt.lint.biases as biases
import efq.export.targets.tensorrt.lint.low_bit_weights as low_bit_weights
import efq.export.targets.tensorrt.lint.operators as operators
import efq.export.targets.tensorrt.lint.placement as placement
import efq.export.targets.tensorrt.lint.scales_and_zero_points as scales_and_zero_points
import efq.export.targets.tensorrt.lint.shapes as shapes
import efq.export.targets.tensorrt.lint.tensor_types as tensor_types
import efq.export.targets.tensorrt.lint.values as values
import efq.export.targets.tensorrt.lint.weights as weights
from efq.export.targets.tensorrt.lint.finding import Finding
from efq.export.targets.tensorrt.lint.graph import Graph, read_model
from efq.runtime.errors import LintError, UsageError
from efq.runtime.tensorrt.module import TARGETS

Rule = Callable[[Graph], Iterator[Finding]]
RULES: tuple[Rule, ...] = (
    scales_and_zero_points.zero_point_not_zero,
    scales_and_zero_points.zero_point_not_constant,
    scales_and_zero_points.zero_point_empty,
    scales_and_zero_points.scale_not_constant,
    scales_and_zero_points.scale_not_positive,
    scales_and_zero_points.scale_too_large,
    scales_and_zero_points.scale_subnormal,
    scales_and_zero_points.activation_scale_not_scalar,
    scales_and_zero_points.weight_scale_one_element,
    tensor_types.unsigned_activation,
    tensor_types.unsigned_tensor,
    tensor_types.quantized_type_refused,
    tensor_types.quantized_type_needs_newer_gpu,
    tensor_types.quantized_types_differ,
    tensor_types.float_types_differ,
    weights.weight_only_convolution,
    weights.activation_only_operator,
    weights.weight_axis,
    weights.scale_count,
    weights.quantized_constant_moved,
    low_bit_weights.block_axis,
    low_bit_weights.blocked_activation,
    low_bit_weights.blocked_product,
    low_bit_weights.blocked_convolution,
    low_bit_weights.weight_dequantized_each_run,
    biases.int32_dequantized,
    biases.quantized_bias,
    biases.quantized_slope,
    placement.quantized_before_activation,
    placement.quantized_before_batchnorm,
    placement.quantized_twice,
    placement.residual_quantized_twice,
    placement.requantized_around,
    operators.integer_operator,
    operators.custom_operator,
    operators.quantized_transposed_convolution,
    operators.float32_network,
    shapes.narrow_operator,
    shapes.dynamic_dimension,
    shapes.input_without_shape,
    shapes.fixed_batch,
    shapes.opset_too_old,
    values.constant_not_finite,
    values.constant_beyond_float16,
)


def lint(
    model: onnx.ModelProto | Path,
    *,
    target: str = "trt-rtx",
    compute_capabilities: Collection[str] = (),
) -> tuple[Finding, ...]:
    """All findings of all rules in `model`, a model or the path of one, in the order of the rules.

    `target` is `trt` or `trt-rtx`; the rules were checked against the builder of TensorRT-RTX 1.7.1, and full TensorRT
    is taken to behave alike. `compute_capabilities` are those an engine is built for ("8.6"); empty stands for all
    that TensorRT-RTX builds for by itself, or for the unknown GPU that full TensorRT will find. Where tensors stored
    outside the model are missing, only that is found.

    Raises UsageError for another target or a malformed capability, and InputError when the path holds no ONNX model.
    """
    if target not in TARGETS:
        message = f"expected a TensorRT target, one of {', '.join(TARGETS)}; found {target!r}"
        raise UsageError(message)
    graph = Graph(
        read_model(model) if isinstance(model, Path) else model,
        folder=model.parent if isinstance(model, Path) else None,
        target=target,
        capabilities=frozenset(map(_parse_capability, compute_capabilities)),
    )
    missing = tuple(shapes.external_data(graph))
    return missing or tuple(finding for rule in RULES for finding in rule(graph))


def check(
    model: onnx.ModelProto | Path,
    *,
    target: str = "trt-rtx",
    compute_capabilities: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Refuse what must not be built; returns the findings that only cost speed.

    Raises LintError, which lists every finding that is refused, fatal, float or clipped, and what `lint` raises.
    """
    findings = lint(model, target=target, compute_capabilities=compute_capabilities)
    blocking = [str(finding) for finding in findings if finding.severity.blocks]
    if blocking:
        lines = "\n  ".join(blocking)
        message = (
            f"expected a graph that {target} runs in int8 as written; found {len(blocking)} "
            f"pattern{'s' if len(blocking) > 1 else ''} that must be changed first:\n  {lines}"
        )
        raise LintError(message)
    return findings


def _parse_capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        message = f"expected compute capabilities such as 8.6 or 12.0, found {text!r}"
        raise UsageError(message)
    return int(major), int(minor)
