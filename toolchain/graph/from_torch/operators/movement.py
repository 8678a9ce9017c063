"""Operations that only move numbers, and those that join tensors or leave them as they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from efq.toolchain.graph.from_torch.calls import Call
from efq.toolchain.graph.from_torch.context import Context
from efq.toolchain.graph.from_torch.student_graph import shape_of
from efq.toolchain.graph.from_torch.views import View, moved, views_in
from efq.toolchain.graph.operations import Concat, Pad

_JOINED = (
    "mixes images, or joins tensors in a way that has no integer form: expected torch.cat of maps of one height and "
    "width along the channels"
)


def move(call: Call, context: Context) -> Any:
    """Whatever torch does, on the places of numbers instead of the numbers."""
    try:
        return moved(call.node, call.node.target, call.arguments, context.batch)
    except (RuntimeError, ValueError, IndexError, TypeError):
        call.refuse("mixes images with each other, or with channels or rows: expected it to keep them apart")


def as_it_is(call: Call, context: Context) -> Any:
    """The tensor itself: a copy, another floating type, a Dropout in eval mode."""
    if call.get("train") is True:
        call.refuse("is a dropout that is on in eval mode: expected dropout(x, training=self.training)")
    dtype = call.get("dtype")
    if isinstance(dtype, torch.dtype) and not dtype.is_floating_point:
        call.refuse(f"turns numbers into {dtype}: expected floating-point numbers up to the embedding")
    return next(views_in(call.arguments))


def join(call: Call, context: Context) -> Any:
    """cat, stack and what else puts several tensors together, along any axis: Concat, and the places in it."""
    views = list(views_in(call.arguments))
    sources = list(dict.fromkeys(view.source for view in views))
    if any(isinstance(part, Tensor) for part in call.get("tensors", ())):
        call.refuse(
            "joins a constant (a class token, a map of zeros) with a tensor of the image, which has no integer form"
        )
    result = move(call, context) if len(sources) == 1 else None
    if result is not None and not (len(result.shape) == 3 and not context.reader.reads_maps(result)):
        return result
    if call.operation in ("cat", "concat") and _along_channels(call, views):
        nodes = tuple(context.reader.node(view, call.node) for view in views)
        if len(set(nodes)) == len(nodes):
            return context_layer(call, context, nodes)
    return result or _joined_anyhow(call, context, views)


def _along_channels(call: Call, views: list[View]) -> bool:
    everything = call.get("tensors", ())
    return call["dim"] % (len(call.shape)) == 1 and len(call.shape) in (2, 4) and len(views) == len(everything)


def context_layer(call: Call, context: Context, nodes: tuple[Any, ...]) -> View:
    """Concat of nodes."""
    return View(context.graph.call(call.node, Concat(), nodes, call.shape[1:]))


def _joined_anyhow(call: Call, context: Context, views: list[View]) -> Any:
    """The sources behind each other, and of the joined tensor the places in them."""
    whole = [view if view.is_whole else View(context.reader.node(view, call.node)) for view in views]
    sources = list(dict.fromkeys(view.source for view in whole))
    shapes = [shape_of(source) for source in sources]
    if len({shape[1:] for shape in shapes}) != 1:
        call.refuse(_JOINED)
    channels = sum(shape[0] for shape in shapes)
    concat = context.graph.call(call.node, Concat(), tuple(sources), (channels, *shapes[0][1:]))
    total, offsets, before = math.prod(shape_of(concat)), {}, 0
    for source, shape in zip(sources, shapes, strict=True):
        offsets[source] = before
        before += math.prod(shape)

    def placed(view: View) -> View:
        image, place = view.all_places() // view.size, view.all_places() % view.size
        return View(concat, image * total + place + offsets[view.source], call.node)

    replaced = iter([placed(view) for view in whole])
    arguments = {name: _replaced(value, replaced) for name, value in call.arguments.items()}
    return move(Call(call.node, arguments, call.shape), context)


def _replaced(value: Any, views: Any) -> Any:
    if isinstance(value, View):
        return next(views)
    return [_replaced(part, views) for part in value] if isinstance(value, tuple | list) else value


def pad(call: Call, context: Context) -> View:
    """pad and constant_pad_nd: zeros around maps; negative numbers crop."""
    mode, value = call.get("mode", "constant"), call.get("value")
    if mode != "constant":
        call.refuse(f"has padding_mode {mode!r}, which no integer kernel computes: use zeros")
    sizes = [int(size) for size in call["pad"]]
    while len(sizes) > 4 and not any(sizes[-2:]):
        sizes = sizes[:-2]
    before, behind, above, below = (sizes + [0] * 4)[:4]
    if value or len(sizes) > 4:
        call.refuse("pads channels or images, or with other numbers than zeros: expected zeros around rows and columns")
    view: View = call["self"]
    if min(before, behind, above, below) < 0:
        if max(before, behind, above, below) > 0:
            call.refuse("pads and crops in one: write it as two")
        places = view.all_places()
        height, width = view.shape[-2:]
        return View(view.source, places[..., -above : height + below, -before : width + behind], call.node)
    module = Pad(above=above, below=below, before=before, behind=behind)
    return context.layer(call, module, context.maps(view, call)) if any(sizes) else view


def other_padding(call: Call, context: Context) -> View:
    """Refused."""
    call.refuse("pads with copies of the image, which no integer kernel computes: use zeros")


_MOVES = (
    *("view", "reshape", "_unsafe_view", "_reshape_alias", "view_as", "reshape_as", "flatten", "unflatten"),
    *("permute", "transpose", "t", "numpy_T", "mT", "adjoint", "movedim", "moveaxis", "swapaxes", "swapdims"),
    *("squeeze", "unsqueeze", "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave"),
    *("select", "slice", "narrow", "chunk", "split", "split_with_sizes", "tensor_split", "unsafe_chunk"),
    *("unsafe_split", "unsafe_split_with_sizes", "unbind", "hsplit", "vsplit", "flip", "fliplr", "flipud", "roll"),
    *("rot90", "index", "index_select", "channel_shuffle", "native_channel_shuffle", "pixel_shuffle"),
    *("pixel_unshuffle", "atleast_1d", "atleast_2d", "atleast_3d", "ravel", "take", "gather", "take_along_dim"),
)
_SAME = (
    *("contiguous", "clone", "detach", "alias", "lift_fresh", "lift_fresh_copy", "to", "_to_copy", "type_as", "float"),
    *("double", "half", "bfloat16", "dropout", "native_dropout", "feature_dropout", "alpha_dropout", "positive"),
    *("feature_alpha_dropout", "identity", "requires_grad", "_conj", "real", "resolve_conj", "resolve_neg"),
)
_JOINS = ("cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack", "slice_scatter", "select_scatter")

MOVEMENT: dict[str, Callable[[Call, Context], Any]] = {
    **dict.fromkeys(_MOVES, move),
    **dict.fromkeys(_SAME, as_it_is),
    **dict.fromkeys(_JOINS, join),
    **dict.fromkeys(("pad", "constant_pad_nd"), pad),
    **dict.fromkeys(("reflection_pad2d", "replication_pad2d", "_pad_circular"), other_padding),
}
