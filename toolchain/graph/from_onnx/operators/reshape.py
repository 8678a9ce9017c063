"""Reshapes: the batch stays free, whatever number of images a file was written for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from efq.toolchain.graph.from_onnx.builder import BATCH, Activation, Value, plain, shape_of
from efq.toolchain.graph.from_onnx.operator_call import OperatorCall, axis_of, whole_numbers
from efq.toolchain.graph.from_onnx.refusal import refuse

_OTHER_SIZE = "the image has another size than the graph was made for, or the file is damaged"


def reshape(call: OperatorCall, source: Value) -> Value:
    """To a constant shape, or one computed from the batch."""
    target = whole_numbers(call.constant(1, "the shape of a Reshape"), "a shape")
    if not call.attribute("allowzero", 0):
        if any(not size and axis >= len(source.shape) for axis, size in enumerate(target)):
            refuse(f"a shape {target[:8]}", _OTHER_SIZE)
        target = [size or source.shape[axis] for axis, size in enumerate(target)]
    if target.count(-1) > 1 or any(size < -1 for size in target):
        refuse(f"a shape {target[:8]}", "the file is damaged: fetch it again")
    if isinstance(source, Tensor):
        return call.call(torch.reshape, source, tuple(target))
    free = -1 in target[1:] or any(size % BATCH == 0 for size in target[1:])
    return viewed(call, source, _with_batch(source.shape, target, call.fixed_batch), flat=free)


def _with_batch(shape: tuple[int, ...], target: list[int], fixed: int | None) -> list[int]:
    """The sizes after a reshape, multiples of BATCH where they depend on it.

    In `target` the batch may be such a multiple, -1, or the number of images that the file was written for: `fixed`,
    or 1 where an exporter wrote its example's.
    """
    images = fixed or 1
    each = math.prod(shape) // BATCH
    if any(size % BATCH == 0 for size in target):
        return _filled(target, each * BATCH)
    known = math.prod(size for size in target if size != -1)
    if -1 in target[1:] and target[0] == images:
        return [BATCH, *_filled(target[1:], each)]
    if fixed is None and target[:1] == [-1] and known and each % known == 0:
        return [each // known * BATCH, *target[1:]]
    whole = _filled(target, each * images)
    if not whole or whole[0] % images:
        refuse(f"a shape {target[:8]} for {images} images", "export the network with a free batch")
    return [whole[0] // images * BATCH, *whole[1:]]


def _filled(target: Sequence[int], count: int) -> list[int]:
    """With -1 as what is left of `count`."""
    known = math.prod(size for size in target if size != -1)
    if not known or count % known or (-1 not in target and known != count):
        shape = ["N" if size == BATCH else size for size in target[:8]]
        refuse(f"a shape {shape} for {_described(count)}", _OTHER_SIZE)
    return [count // known if size == -1 else size for size in target]


def _described(count: int) -> str:
    return f"{count // BATCH:,} numbers an image" if count % BATCH == 0 else f"{count:,} numbers"


def viewed(call: OperatorCall, source: Activation, sizes: Sequence[int], *, flat: bool = False) -> Activation:
    """`source` in another shape of as many numbers, in the order of the ONNX graph.

    flat: whether (N, C) is whatever the image has, or else C numbers, which an image of another size does not have.
    """
    if tuple(sizes) == source.shape:
        return source
    node = _in_memory_order(call, source)
    free = [axis for axis, size in enumerate(sizes) if size % BATCH == 0]
    if len(free) != 1:
        refuse("a shape that mixes the images of a batch", "")
    if tuple(sizes) == shape_of(node):
        return plain(node)
    if flat and list(sizes) == [BATCH, math.prod(shape_of(node)[1:])]:
        return plain(call.builder.call(torch.flatten, node, 1))
    shape = tuple(-1 if axis in free else size for axis, size in enumerate(sizes))
    return plain(call.builder.call(torch.reshape, node, shape))


def _in_memory_order(call: OperatorCall, source: Activation) -> fx.Node:
    """`source` with its numbers one behind the other as in the ONNX graph; axes of size 1 move none."""
    stored = shape_of(source.node)
    moved = [axis for axis in source.axes if stored[axis] != 1]
    return source.node if moved == sorted(moved) else call.ordered(source)


def flatten(call: OperatorCall) -> Value:
    """To two axes."""
    source = call.needed(0)
    axis = call.attribute("axis", 1)
    shape = source.shape
    axis = len(shape) if axis == len(shape) else axis_of(axis, len(shape))
    sizes = [math.prod(shape[:axis]), math.prod(shape[axis:])]
    if isinstance(source, Tensor):
        return call.call(torch.reshape, source, tuple(sizes))
    if axis == 0 and call.fixed_batch == 1:
        sizes = [BATCH, sizes[1] // BATCH]
    return viewed(call, source, sizes, flat=True)


def squeeze(call: OperatorCall, source: Value, axes: list[int] | None) -> Value:
    """Axes of size 1 fall away, all where `axes` is None; a batch of one image that does is joined to the next axis."""
    shape = source.shape
    one = call.fixed_batch == 1 and isinstance(source, Activation)
    if axes is None:
        gone = {axis for axis, size in enumerate(shape) if size == 1 or (one and size == BATCH)}
    else:
        gone = {axis_of(axis, len(shape)) for axis in axes}
    if any(shape[axis] not in ((1, BATCH) if one else (1,)) for axis in gone):
        refuse(f"axes {sorted(gone)[:8]} to leave out that are not of size 1", _OTHER_SIZE)
    sizes = [size for axis, size in enumerate(shape) if axis not in gone]
    if isinstance(source, Tensor):
        return call.call(torch.reshape, source, tuple(sizes))
    if math.prod(sizes) != math.prod(shape):
        sizes = [BATCH * sizes[0], *sizes[1:]] if sizes else [BATCH]
    return viewed(call, source, sizes)


def unsqueeze(call: OperatorCall) -> Value:
    """New axes of size 1."""
    source, axes = call.needed(0), call.numbers("axes", 1)
    rank = len(source.shape) + len(axes or ())
    new = {axis_of(axis, rank) for axis in axes or ()}
    if axes is None or len(new) < len(axes):
        refuse("no axes", "the file is damaged: fetch it again")
    old = iter(source.shape)
    sizes = [1 if axis in new else next(old) for axis in range(rank)]
    if isinstance(source, Tensor):
        return call.call(torch.reshape, source, tuple(sizes))
    return viewed(call, source, _with_batch(source.shape, sizes, call.fixed_batch))
