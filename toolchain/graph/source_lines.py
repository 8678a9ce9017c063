"""Where in the code of a network its calls are, for messages: the module, the function and the line that calls it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import fx, nn

_TORCH, _HERE = str(Path(torch.__file__).parent), str(Path(__file__).parent)
_PASSED = tuple(str(Path(_HERE, "from_torch", "exporting", name)) for name in ("call_lines.py", "export.py"))
_LIBRARY = str(Path(re.__file__).parent.parent)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_FRAME = re.compile(r'File "([^"\n]+)", line (\d+)')
_KEPT = "source"


def keep_line(node: fx.Node, line: str) -> None:
    """Let `node` have `line` in messages, "file:number" or nothing."""
    node.meta[_KEPT] = line


def line_of(node: fx.Node) -> str:
    """The line that `keep_line` gave a node."""
    return str(node.meta.get(_KEPT, ""))


def line_of_trace(stack_trace: str | None) -> str:
    """The innermost line of a user in what torch.export keeps of a call: frames from the outermost inwards."""
    frames = [(file, int(line)) for file, line in _FRAME.findall(stack_trace or "")]
    return innermost_line(reversed(frames))


def described(node: fx.Node, network: nn.Module | None = None) -> str:
    """A node as a user knows it: its layer and the line that calls it."""
    place = line_of(node)
    return f"{_named(node, network)}{f' ({place})' if place else ''}"


def _named(node: fx.Node, network: nn.Module | None) -> str:
    if node.op != "call_module":
        return f"{node.op} {node.name!r}"
    module = None if network is None else network.get_submodule(str(node.target))
    return f"layer {str(node.target)!r}{f' ({type(module).__name__})' if module is not None else ''}"


def line_of_error(error: BaseException) -> str:
    """The innermost line of a user that raised it, or nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    return innermost_line([(frame.filename, frame.lineno) for frame in reversed(frames)])


def without_addresses(text: object) -> str:
    """The first line of a message, without places in memory."""
    lines = str(text).strip().splitlines()
    return _ADDRESS.sub("", lines[0]) if lines else ""


def innermost_line(lines: Iterable[tuple[str, int | None]]) -> str:
    """The first of `lines` of a user, from the innermost outwards, up to where the network was called."""
    for file, line in lines:
        if file.startswith(_HERE) and file not in _PASSED:
            return ""
        library = file.startswith(_LIBRARY) and "site-packages" not in file
        if not library and not file.startswith((_TORCH, "<", _HERE)):
            return f"{file}:{line}"
    return ""
