"""The tools by name: EFQ's own, then those that installed packages offer in the entry-point group `efq.peers`."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from efq.benchmarks.peers.peer import Peer
from efq.benchmarks.peers.spec import PeerSpec
from efq.benchmarks.peers.tool import PeerOpener, PeerTool
from efq.runtime.errors import UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS = "efq.peers"

_TOOLS = ("onnxruntime", "openvino", "nncf", "torch_compile")
"""EFQ's own in the order of reports, each `TOOL` of the module of its name, which is imported when it is asked for."""

_OPENERS = (*_TOOLS, "artifact")

_logger = logging.getLogger(__name__)


def peer_tools(names: Sequence[str] = ()) -> tuple[PeerTool, ...]:
    """The tools called `names`, or all: EFQ's own in their order, then those of other packages by name.

    An entry point that gives no tool is a logged warning. Raises UsageError for an unknown name.
    """
    tools: dict[str, PeerTool] = {name: _built_in(name) for name in _TOOLS}
    for entry_point in _entry_points():
        tool = _load(entry_point)
        if tool is not None:
            tools[tool.name] = tool
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
    for entry_point in _entry_points():
        if entry_point.name == name and (tool := _load(entry_point)) is not None:
            return tool
    message = f"expected a network of {', '.join(_OPENERS)} or of the entry points {ENTRY_POINTS}, found {name!r}"
    raise UsageError(message)


def open_peer(spec: PeerSpec, threads: int) -> Peer:
    """Open the network on `threads` threads; imports its runtime only. Raises what opening it raises."""
    return find_opener(spec.kind).open(spec, threads)


def _built_in(name: str) -> Any:
    return importlib.import_module(f"efq.benchmarks.peers.{name}").TOOL


def _entry_points() -> list[EntryPoint]:
    import importlib.metadata

    return sorted(importlib.metadata.entry_points(group=ENTRY_POINTS), key=lambda entry_point: entry_point.name)


def _load(entry_point: EntryPoint) -> PeerTool | None:
    """The tool of an entry point; None, and a warning, where there is none of its name or it is one of EFQ's own."""
    try:
        tool = entry_point.load()
    except Exception as error:  # of another package: it must not end a benchmark of all the others
        reason = f"{type(error).__name__}: {error}"
    else:
        if isinstance(tool, PeerTool) and tool.name == entry_point.name and tool.name not in _OPENERS:
            return tool
        reason = f"expected a PeerTool of that name, which none of EFQ's own has, found {tool!r}"
    _logger.warning("the peer %s (%s) is left out: %s", entry_point.name, entry_point.value, reason)
    return None
