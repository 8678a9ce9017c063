"""Where in the code of a network its calls are, for messages: the module, the function and the line that calls it."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

_TORCH, _HERE = str(Path(torch.__file__).parent), str(Path(__file__).parent)
_LIBRARY = str(Path(re.__file__).parent.parent)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_KEPT = "source"


class LineTracer(fx.Tracer):
    """torch.fx's tracer, whose nodes know the line they came from."""

    def create_node(self, *arguments: Any, **options: Any) -> fx.Node:
        node = super().create_node(*arguments, **options)
        frame = sys._getframe()
        lines = []
        while frame.f_back is not None:
            frame = frame.f_back
            lines.append((frame.f_code.co_filename, frame.f_lineno))
        node.meta[_KEPT] = _innermost(lines)
        return node


def keep_line(node: fx.Node, before: fx.Node) -> None:
    """Let `node`, which stands for `before`, have its line."""
    node.meta[_KEPT] = before.meta.get(_KEPT, "")


def described(node: fx.Node, network: nn.Module | None = None) -> str:
    """A node as a user knows it: the layer, or the function that is called, and the line."""
    place = node.meta.get(_KEPT)
    return f"{named(node, network)}{f' ({place})' if place else ''}"


def named(node: fx.Node, network: nn.Module | None = None) -> str:
    """A node without its line."""
    if node.op == "call_module":
        module = None if network is None else network.get_submodule(str(node.target))
        return f"layer {str(node.target)!r}{f' ({type(module).__name__})' if module is not None else ''}"
    if node.op == "get_attr":
        return f"the network's own tensor {str(node.target)!r}"
    if node.op == "call_method":
        return f"the method {node.target}()"
    name: Any = getattr(node.target, "__name__", node.name)
    return f"the function {name}()" if node.op == "call_function" else f"{node.op} {node.name!r}"


def line_of_error(error: BaseException) -> str:
    """The innermost line of a user that raised it, or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    return _innermost([(frame.filename, frame.lineno) for frame in reversed(frames)])


def without_addresses(text: object) -> str:
    """The first line of a message, without places in memory."""
    lines = str(text).strip().splitlines()
    return _ADDRESS.sub("", lines[0]) if lines else ""


def _innermost(lines: Iterable[tuple[str, int | None]]) -> str:
    """The first of `lines`, from the innermost outwards, up to where the network was called."""
    for file, line in lines:
        if file.startswith(_HERE):
            return ""
        library = file.startswith(_LIBRARY) and "site-packages" not in file
        if not library and not file.startswith((_TORCH, "<")):
            return f"{file}:{line}"
    return ""
