"""The tools by name: EFQ's own, then those that installed packages offer in the entry-point group `efq.peers`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from efq.benchmarks.peers.tool import PeerOpener, PeerTool
from efq.runtime.errors import UsageError
from efq.runtime.extensions import load_extensions

ENTRY_POINTS = "efq.peers"

_TOOLS = ("onnxruntime", "openvino", "nncf", "torch_compile")
"""EFQ's own in the order of reports, each `TOOL` of the module of its name, which is imported when it is asked for."""

_OPENERS = (*_TOOLS, "artifact")


def peer_tools(names: Sequence[str] = ()) -> tuple[PeerTool, ...]:
    """The tools called `names`, or all: EFQ's own in their order, then those of other packages by name.

    An entry point that gives no tool is a logged warning. Raises UsageError for an unknown name.
    """
    tools: dict[str, PeerTool] = {name: _built_in(name) for name in _TOOLS}
    tools |= load_extensions(ENTRY_POINTS, PeerTool, taken=_OPENERS)  # type: ignore[type-abstract]
    unknown = [name for name in names if name not in tools]
    if unknown:
        message = f"expected tools of {', '.join(tools)}, found {', '.join(unknown)}"
        raise UsageError(message)
    return tuple(tools[name] for name in names or tools)


def find_opener(name: str) -> PeerOpener:
    """What opens networks of the kind `name`; imports no other. Raises UsageError for an unknown name."""
    if name in _OPENERS:
        opener: PeerOpener = _built_in(name)
        return opener
    found = load_extensions(ENTRY_POINTS, PeerTool, only=name, taken=_OPENERS)  # type: ignore[type-abstract]
    if name in found:
        return found[name]
    message = f"expected a network of {', '.join(_OPENERS)} or of the entry points {ENTRY_POINTS}, found {name!r}"
    raise UsageError(message)


def _built_in(name: str) -> Any:
    return importlib.import_module(f"efq.benchmarks.peers.{name}").TOOL
