"""Reshapes, transpositions, slices: the same numbers in other places."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.nn import functional

from efq.toolchain.graph.from_onnx.builder import BATCH, Activation, Operand, Value, shape_of
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall, axis_of, whole_numbers
from efq.toolchain.graph.from_onnx.operators.reshape import flatten, reshape, squeeze, unsqueeze
from efq.toolchain.graph.from_onnx.refusal import refuse

_PADDINGS = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}


def rank_of(value: Value) -> int:
    """How many axes it has."""
    return len(value.axes) if isinstance(value, Activation) else value.dim()


def transpose(call: OperatorCall) -> Value:
    """Remembered for an activation, done when something needs the order."""
    source = call.needed(0)
    rank = rank_of(source)
    order = call.attribute("perm", list(range(rank))[::-1])
    if sorted(order) != list(range(rank)):
        refuse(f"perm {order[:8]} of {rank} axes", "the file is damaged: fetch it again")
    if isinstance(source, Tensor):
        return source.permute(order)
    return Activation(source.node, tuple(source.axes[axis] for axis in order))


def concat(call: OperatorCall) -> Value:
    """torch.cat; parts are brought into the first's order."""
    values = [call.needed(place) for place in range(len(call.inputs))]
    axis = axis_of(call.attribute("axis", 0), rank_of(values[0]))
    first = next((value for value in values if isinstance(value, Activation)), None)
    same = all(isinstance(value, Activation) and value.axes == first.axes for value in values if first)
    if first is not None and same:
        _not_images(axis, first)
        nodes = [value.node for value in values]  # type: ignore[union-attr]
        return Activation(call.builder.call(torch.cat, nodes, first.axes[axis]), first.axes)
    parts = [call.operand(_for_batch(value) if first else value) for value in values]
    return call.result(call.builder.call(torch.cat, parts, axis))


def _for_batch(value: Value) -> Value:
    """Refuses a constant beside values of the image: it has no batch."""
    if isinstance(value, Tensor):
        refuse("constants concatenated with values of the image", "remove them from the graph")
    return value


def slice_(call: OperatorCall) -> Value:
    """Indexing, one axis after the other; backwards by an index."""
    source = call.needed(0)
    starts, ends = (call.numbers(name, place) for place, name in enumerate(("starts", "ends"), 1))
    if starts is None or ends is None:
        refuse("no bounds", "the file is damaged: fetch it again")
    axes, steps = call.numbers("axes", 3), call.numbers("steps", 4)
    axes, steps = list(range(len(starts))) if axes is None else axes, [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        refuse("bounds that do not fit each other", "the file is damaged: fetch it again")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        source = _sliced(call, source, axis_of(axis, rank_of(source)), start, end, step)
    return source


def _sliced(call: OperatorCall, source: Value, axis: int, start: int, end: int, step: int) -> Value:
    size = source.shape[axis]
    places = range(size)[start:end:step]
    if places == range(size):
        return source
    if isinstance(source, Activation):
        _not_images(axis, source)
    return part(call, source, axis, places)


def part(call: OperatorCall, source: Value, axis: int, places: Sequence[int]) -> Value:
    """Those places of an axis, in their order."""
    stored = source.axes[axis] if isinstance(source, Activation) else axis
    operand = source.node if isinstance(source, Activation) else source
    if len(places) == 0:
        refuse("a slice of nothing", "the image has another size than the graph was made for")
    step = places[1] - places[0] if len(places) > 1 else 1
    if step > 0 and list(places) == list(range(places[0], places[-1] + 1, step)):
        inner = slice(places[0], places[-1] + 1, None if step == 1 else step)
        found = _indexed(call, operand, stored, inner)
    else:
        found = call.builder.call(torch.index_select, operand, stored, torch.tensor(list(places)))
    return Activation(found, source.axes) if isinstance(source, Activation) else found


def _indexed(call: OperatorCall, operand: Operand, stored: int, inner: slice) -> Any:
    """A slice of one axis, in one index with those of other axes before it."""
    index = [slice(None)] * len(shape_of(operand) if isinstance(operand, fx.Node) else operand.shape)
    if isinstance(operand, fx.Node) and operand.target is operator.getitem:
        before: Any = operand.args[1]
        if before[stored] == slice(None):
            operand, index = operand.args[0], list(before)  # type: ignore[assignment]
    index[stored] = inner
    return call.builder.call(operator.getitem, operand, tuple(index))


def split(call: OperatorCall) -> list[Value | None]:
    """One slice an output."""
    source = call.needed(0)
    axis = axis_of(call.attribute("axis", 0), rank_of(source))
    sizes, count = call.numbers("split", 1), len(call.node.output)
    if call.attribute("num_outputs", count) != count:
        refuse("another number of outputs than num_outputs", "the file is damaged: fetch it again")
    size = source.shape[axis]
    if sizes is None:
        each = math.ceil(size / count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    if len(sizes) != count or sum(sizes) != size or min(sizes) < 0:
        refuse(f"parts of {sizes[:8]} of {size}", "the file is damaged: fetch it again")
    ends = [sum(sizes[: place + 1]) for place in range(count)]
    return [_sliced(call, source, axis, end - size, end, 1) for end, size in zip(ends, sizes, strict=True)]


def gather(call: OperatorCall) -> Value:
    """By constant places: a slice, an index, or one place whose axis falls away."""
    source, places = call.needed(0), call.constant(1, "the places of a Gather")
    axis = axis_of(call.attribute("axis", 0), rank_of(source))
    size = source.shape[axis]
    if places.dtype != torch.int64 or (places.numel() and not -size <= int(places.min()) <= int(places.max()) < size):
        refuse(f"places outside of {size}", "the file is damaged: fetch it again")
    if isinstance(source, Tensor):
        flat = call.builder.call(torch.index_select, source, axis, places.reshape(-1) % size)
        return call.call(torch.reshape, flat, (*source.shape[:axis], *places.shape, *source.shape[axis + 1 :]))
    if axis == 0 and source.shape[0] == BATCH and call.fixed_batch == 1 and places.numel() == 1 and not places.any():
        return source if places.dim() else squeeze(call, source, [0])
    _not_images(axis, source)
    if places.dim() > 1:
        refuse(f"places of {list(places.shape)}", "expected a list of channels")
    wanted = [int(place) % size for place in places.reshape(-1)]
    found = source if wanted == list(range(size)) else part(call, source, axis, wanted)
    return found if places.dim() or not isinstance(found, Activation) else squeeze(call, found, [axis])


def pad(call: OperatorCall) -> Value:
    """functional.pad; a convolution behind takes zeros over itself."""
    source, mode = call.activation(0), call.attribute("mode", "constant")
    pads = call.numbers("pads", 1)
    axes = call.numbers("axes", 3)
    rank = len(source.axes)
    axes = list(range(rank)) if axes is None else [axis_of(axis, rank) for axis in axes]
    value = call.attribute("value", 0.0) if call.has("value") else 0.0
    if call.value(2) is not None:
        value = float(call.constant(2, "the value of a Pad").reshape(-1)[:1].sum())
    if pads is None or len(pads) != 2 * len(axes) or len(set(axes)) < len(axes) or mode not in _PADDINGS:
        refuse(f"pads {(pads or [])[:8]}, mode {mode[:20]!r}", "expected constant, reflect or edge")
    around = [(0, 0)] * rank
    for axis, begin, end in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        around[source.axes[axis]] = (begin, end)
    if around[0] != (0, 0):
        refuse("images added to the batch", "")
    while around and around[0] == (0, 0):
        around = around[1:]
    if not around:
        return source
    flat = [size for pair in around[::-1] for size in pair]
    arguments = ("constant", value) if mode == "constant" else (_PADDINGS[mode],)
    while mode != "constant" and len(flat) < 4:
        flat = [*flat, 0, 0]
    return Activation(call.builder.call(functional.pad, source.node, tuple(flat), *arguments), source.axes)


def expand(call: OperatorCall) -> Value:
    """Repeats along axes; what a batch repeats of a constant is left to broadcasting."""
    source = call.needed(0)
    shape = whole_numbers(call.constant(1, "the shape of an Expand"), "a shape")
    if isinstance(source, Activation):
        wanted = _broadcast(source.shape, shape)
        if wanted == list(source.shape):
            return source
        free = [-1 if size % BATCH == 0 else size for size in wanted]  # -1: as it is
        return call.call(torch.Tensor.expand, source, free)
    return call.call(torch.broadcast_to, source, _broadcast(source.shape, [1 if n % BATCH == 0 else n for n in shape]))


def _broadcast(one: Sequence[int], two: Sequence[int]) -> list[int]:
    """The sizes that both repeat to (https://onnx.ai/onnx/repo-docs/Broadcasting.html)."""
    rank = max(len(one), len(two))
    pairs = zip([1] * (rank - len(one)) + list(one), [1] * (rank - len(two)) + list(two), strict=True)
    return [first if second == 1 else second for first, second in pairs]


def _not_images(axis: int, source: Activation) -> None:
    if source.axes[axis] == 0 and source.shape[axis] % BATCH == 0:
        refuse("images of a batch mixed", "expected a network that takes each image by itself")


def of_shape(call: OperatorCall) -> Tensor:
    """The sizes of the axes; multiples of BATCH depend on the batch."""
    shape = call.needed(0).shape
    rank = len(shape)
    start, end = call.attribute("start", 0), call.attribute("end", rank)
    return torch.tensor(list(shape)[slice(start, end)], dtype=torch.int64)


MOVEMENT: dict[str, Callable[[OperatorCall], Any]] = {
    "Reshape": lambda call: reshape(call, call.needed(0)),
    "Flatten": flatten,
    "Squeeze": lambda call: squeeze(call, call.needed(0), call.numbers("axes", 1)),
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Concat": concat,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Pad": pad,
    "Expand": expand,
    "Shape": of_shape,
    "Size": lambda call: torch.tensor(math.prod(call.needed(0).shape)),
}
