"""What each function and method of torch that a network may call becomes, as an operation of a student."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from efq.toolchain.graph.operations import Add, Concat, Crop, Flatten, GlobalAveragePool, LeakyRelu

_LAST_AXIS = (-1, 3)  # of (N, C, H, W)


def operation_of(node: fx.Node) -> nn.Module | None:
    """The operation a call of a function or method is, nn.Identity for one that changes nothing; None where none is."""
    key = node.target if node.op == "call_function" else str(node.target)
    handler = _FUNCTIONS.get(key)
    try:
        return None if handler is None else handler(node)
    except (TypeError, ValueError, AttributeError, IndexError):  # arguments of another kind than in every known network
        return None


def is_size(node: fx.Node) -> bool:
    """x.shape, x.size(), x.size(0) or one number of them: for a view, gone with it."""
    if node.op == "call_method" and node.target == "size":
        return True
    if node.op != "call_function":
        return False
    if node.target is getattr:
        return node.args[1] == "shape"
    source = node.args[0] if node.target is operator.getitem else None
    return isinstance(source, fx.Node) and is_size(source)


def _is_count_of_images(value: Any) -> bool:
    """x.size(0), x.shape[0] or x.size()[0]."""
    if not isinstance(value, fx.Node) or not is_size(value):
        return False
    axis = value.args[1] if len(value.args) > 1 else value.kwargs.get("dim")
    return type(axis) is int and axis == 0


def _flatten(node: fx.Node) -> nn.Module | None:
    start = node.args[1] if len(node.args) > 1 else node.kwargs.get("start_dim", 0)
    end = node.args[2] if len(node.args) > 2 else node.kwargs.get("end_dim", -1)
    return Flatten() if start == 1 and end in _LAST_AXIS else None


def _view(node: fx.Node) -> nn.Module | None:
    rows = _is_count_of_images(node.args[1])
    return Flatten() if rows and len(node.args) == 3 and node.args[2] == -1 else None


def _dropout(node: fx.Node) -> nn.Module | None:
    """In eval mode nothing; but one that was not told the mode is always on."""
    training = node.args[2] if len(node.args) > 2 else node.kwargs.get("training", True)
    return nn.Identity() if training is False else None


def _concat(node: fx.Node) -> nn.Module | None:
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    return Concat() if axis == 1 else None


def _average(node: fx.Node) -> nn.Module | None:
    axes = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
    keeps = node.args[2] if len(node.args) > 2 else node.kwargs.get("keepdim", False)
    return GlobalAveragePool() if keeps is True and tuple(axes or ()) in ((2, 3), (-2, -1)) else None  # type: ignore[arg-type]


def _leaky(node: fx.Node) -> nn.Module | None:
    slope: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("negative_slope", 0.01)
    return LeakyRelu(float(slope))


def _add(node: fx.Node) -> nn.Module | None:
    tensors = [value for value in node.args if isinstance(value, fx.Node)]
    return Add() if len(tensors) == len(node.args) == 2 and not node.kwargs else None


def _crop(node: fx.Node) -> nn.Module | None:
    """x[:, :, top:bottom, left:right] with constant bounds on an image-sized tensor."""
    index = node.args[1]
    if not isinstance(index, tuple) or len(index) != 4 or not all(isinstance(part, slice) for part in index):
        return None
    rows, columns = index[2], index[3]
    if index[0] != slice(None) or index[1] != slice(None) or {rows.step, columns.step} - {None, 1}:  # type: ignore[union-attr]
        return None
    bounds = (rows.start, rows.stop, columns.start, columns.stop)  # type: ignore[union-attr]
    if not all(bound is None or type(bound) is int for bound in bounds):
        return None
    far = 1 << 30
    return Crop(
        top=rows.start or 0,  # type: ignore[union-attr]
        bottom=far if rows.stop is None else rows.stop,  # type: ignore[union-attr]
        left=columns.start or 0,  # type: ignore[union-attr]
        right=far if columns.stop is None else columns.stop,  # type: ignore[union-attr]
    )


_FUNCTIONS: dict[Any, Callable[[fx.Node], nn.Module | None]] = {
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _add),
    **dict.fromkeys((functional.relu, torch.relu, "relu", "relu_"), lambda node: nn.ReLU()),
    **dict.fromkeys((functional.relu6,), lambda node: nn.ReLU6()),
    **dict.fromkeys((functional.leaky_relu,), _leaky),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys(("view", "reshape"), _view),
    **dict.fromkeys((torch.cat,), _concat),
    **dict.fromkeys((torch.mean, "mean"), _average),
    **dict.fromkeys((operator.getitem,), _crop),
    functional.dropout: _dropout,
    "contiguous": lambda node: nn.Identity(),
}
