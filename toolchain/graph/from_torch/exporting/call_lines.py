"""The line of a network's code that each call of an exported graph was made on.

torch.export keeps the lines of `forward` methods alone; this keeps those of functions that they call, too, where torch
has annotations of what it traces. Where it has none, the line of `forward` stays.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from torch import fx
from torch.fx import traceback as fx_traceback
from torch.overrides import TorchFunctionMode

from efq.toolchain.graph.source_lines import innermost_line, line_of_trace

_KEY = "line"


class _Lines(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "__get__":  # x.shape and the like: no call of an operation
            return func(*args, **(kwargs or {}))
        with fx_traceback.annotate({_KEY: innermost_line(_frames(sys._getframe(1)))}):
            return func(*args, **(kwargs or {}))


def keep_lines() -> contextlib.AbstractContextManager[object]:
    """While a network is exported."""
    return fx_traceback.preserve_node_meta() if _has_annotations() else contextlib.nullcontext()


def lines_of_calls() -> contextlib.AbstractContextManager[object]:
    """While a network is called within an export."""
    return _Lines() if _has_annotations() else contextlib.nullcontext()


def _has_annotations() -> bool:
    return hasattr(fx_traceback, "annotate") and hasattr(fx_traceback, "preserve_node_meta")


def line_of_call(node: fx.Node) -> str:
    """The line, "file:number", that `node` of an exported graph was called on, or nothing."""
    custom = node.meta.get("custom") or {}
    return str(custom.get(_KEY) or "") or line_of_trace(node.meta.get("stack_trace"))


def _frames(frame: FrameType | None) -> Iterator[tuple[str, int | None]]:
    """File and line of `frame` and of those around it, from the innermost outwards."""
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
