"""A plan of a model.onnx: the integer steps that its Q/DQ graph stands for.

QuantizeLinear behind an operator on dequantized bytes is one step on bytes; what only moves numbers moves bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from efq.runtime.artifact.onnx_model import UINT8, Node, OnnxModel
from efq.runtime.native import elementwise, layers, movements
from efq.runtime.native.constants import Constant, Quantized, fold, read_constant
from efq.runtime.native.refusal import refuse
from efq.runtime.native.steps import Draft, Grid, Maps, Maximum, Plan
from efq.runtime.native.values import Embedded, Levels, Numbers, Pending, Value, Weighted

Kind = TypeVar("Kind")


def compile_plan(model: OnnxModel) -> Plan:
    """The plan of a model that was checked (`efq.runtime.artifact.model_check`).

    Raises UnsupportedNodeError, an IncompatibleArtifactError, for what EFQ's own kernels do not compute.
    """
    (images,) = model.inputs
    rows, columns, channels = (size if isinstance(size, int) else 0 for size in images.dims[1:])
    if images.dtype != UINT8 or channels != 3 or isinstance(images.dims[0], int):
        refuse(images.name, "images that are not uint8 (N, rows, columns, 3)")
    start = Maps(rows=rows, columns=columns, channels=channels)
    draft = Draft()
    values: dict[str, Value] = {tensor.name: read_constant(tensor) for tensor in model.initializers}
    constants: dict[str, Constant] = {name: value for name, value in values.items() if _is_constant(value)}  # type: ignore[misc]
    values[images.name] = Levels(start, "last")
    for node in model.nodes:
        (output,) = node.outputs
        folded = fold(node, constants)
        if folded is not None:
            values[output] = constants[output] = folded
            continue
        if node.operator not in _HANDLERS:
            refuse(name_of(node), node.operator)
        values[output] = _HANDLERS[node.operator](draft, node, [values[name] for name in node.inputs])
    if not isinstance(values[model.outputs[0].name], Embedded):
        refuse(model.outputs[0].name, "an output that is no embedding")
    return Plan(
        images=start,
        steps=tuple(draft.steps),
        reshaped=draft.reshaped,
        embedding_size=draft.steps[-1].target.channels,
        grids=draft.grids,
    )


def name_of(node: Node) -> str:
    """For messages: its own name, or that of its output."""
    return node.name or node.outputs[0]


def _is_constant(value: Value) -> bool:
    return isinstance(value, np.ndarray | Quantized)


def _only(node: Node, value: Value, kind: type[Kind]) -> Kind:
    if not isinstance(value, kind):
        refuse(name_of(node), f"{node.operator} of {type(value).__name__.lower()}")
    return value


def _number(node: Node, value: Value) -> float:
    array = _only(node, value, np.ndarray)
    if array.size != 1:
        refuse(name_of(node), f"{array.size} numbers instead of one")
    return float(array.item())


def _grid(node: Node, inputs: Sequence[Value]) -> tuple[np.float32, int]:
    """Scale and zero point of a QuantizeLinear or DequantizeLinear of bytes."""
    scale, zero_point = inputs[1], inputs[2] if len(inputs) > 2 else np.zeros((), np.uint8)
    array = _only(node, zero_point, np.ndarray)
    if array.dtype != np.uint8 or _only(node, scale, np.ndarray).dtype != np.float32:
        refuse(name_of(node), "integers that are no uint8, or a scale that is no float32")
    return np.float32(_number(node, scale)), int(_number(node, zero_point))


def _quantize(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    scale, zero_point = _grid(node, inputs)
    value = inputs[0]
    if isinstance(value, Pending | Weighted):
        return value.quantize(scale, zero_point)
    return elementwise.requantize(draft, name_of(node), _only(node, value, Numbers), scale, zero_point)


def _dequantize(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    levels = _only(node, inputs[0], Levels)
    if levels.layout == "last":
        refuse(name_of(node), "images that are dequantized with their channels last")
    scale, zero_point = _grid(node, inputs)
    draft.grids.setdefault(levels.maps, set()).add(Grid(float(scale), zero_point))
    return Numbers(levels, scale, zero_point)


def _convolution(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    numbers, weights = _only(node, inputs[0], Numbers), _only(node, inputs[1], Quantized)
    bias = _only(node, inputs[2], Quantized) if len(inputs) > 2 else None
    if numbers.levels.layout != "first":
        refuse(name_of(node), "a convolution of what is not maps")
    layer = layers.Layer(weights, bias, layers.window_of(node, weights), int(node.attributes.get("group", 1)))  # type: ignore[arg-type]
    return layers.weighted(draft, name_of(node), numbers, layer)


def _linear(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    """Gemm, as a convolution whose kernel is as large as its input."""
    numbers, weights = _only(node, inputs[0], Numbers), _only(node, inputs[1], Quantized)
    bias = _only(node, inputs[2], Quantized) if len(inputs) > 2 else None
    return layers.linear(draft, name_of(node), numbers, weights, bias)


def _add(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    left, right = (_only(node, value, Numbers) for value in inputs)
    return elementwise.add(draft, name_of(node), left, right)


def _multiply(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    left, right = (_only(node, value, Numbers) for value in inputs)
    return elementwise.multiply(draft, name_of(node), left, right)


def _maximum(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    left, right = (_only(node, value, Levels) for value in inputs)
    target = Maps(rows=left.maps.rows, columns=left.maps.columns, channels=left.maps.channels)
    draft.steps.append(Maximum(node=name_of(node), target=target, source=left.maps, other=right.maps))
    return Levels(target, left.layout)


def _minimum(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    levels = _only(node, inputs[0], Levels)
    highest = int(_number(node, inputs[1]))
    return elementwise.look_up(draft, name_of(node), levels, np.minimum(np.arange(256), highest))


def _function(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    numbers = _only(node, inputs[0], Numbers)
    return elementwise.apply(draft, name_of(node), numbers, elementwise.function_of(node, inputs[1:]))


def _mean(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    return layers.mean(draft, name_of(node), _only(node, inputs[0], Numbers))


def _average_pool(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    return layers.average_pool(draft, node, name_of(node), _only(node, inputs[0], Numbers))


def _max_pool(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    return layers.max_pool(draft, node, name_of(node), _only(node, inputs[0], Numbers))


def _normalize(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    _only(node, inputs[0], Weighted).embed()
    return Embedded()


def _move(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    """What only moves numbers, on numbers or on bytes."""
    first = inputs[0]
    if isinstance(first, Numbers):
        levels = movements.move(draft, node, name_of(node), first.levels, inputs[1:], first.zero_point)
        return Numbers(levels, first.scale, first.zero_point)
    return movements.move(draft, node, name_of(node), _only(node, first, Levels), inputs[1:], None)


def _concatenate(draft: Draft, node: Node, inputs: Sequence[Value]) -> Value:
    """Each part on the grid of the whole."""
    parts = [_only(node, value, Numbers) for value in inputs]

    def quantize(scale: np.float32, zero_point: int) -> Levels:
        levels = [elementwise.requantize(draft, name_of(node), part, scale, zero_point) for part in parts]
        return movements.concatenate(draft, name_of(node), levels)

    return Pending(quantize)


Handler = Callable[[Draft, Node, Sequence[Value]], Value]

_HANDLERS: dict[str, Handler] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "Concat": _concatenate,
    "Conv": _convolution,
    "DequantizeLinear": _dequantize,
    "Gemm": _linear,
    "GlobalAveragePool": _mean,
    "LpNormalization": _normalize,
    "Max": _maximum,
    "MaxPool": _max_pool,
    "Min": _minimum,
    "Mul": _multiply,
    "QuantizeLinear": _quantize,
    **dict.fromkeys(movements.OPERATORS, _move),
    **dict.fromkeys(elementwise.FUNCTIONS, _function),
}
