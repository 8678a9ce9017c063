"""What a process has to undo before it ends: temporary files, folders, children.

Context managers do so on their way out. A command that a signal ends has no such way (`runtime.commands.signals`): it
calls `undo_all`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess

_PR_SET_PDEATHSIG = 1

_pending: dict[object, Callable[[], object]] = {}


def undo_by_every_signal(undo: Callable[[], object]) -> None:
    """Call `undo` whenever a signal ends the process, from now on. It may find nothing to do, and may not wait."""
    _pending[object()] = undo


@contextlib.contextmanager
def undone_by_a_signal(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` when a signal ends the process within the block. It may find nothing to do, and may not wait."""
    key = object()
    _pending[key] = undo
    try:
        yield
    finally:
        del _pending[key]


@contextlib.contextmanager
def undone_at_the_end(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` at the end of the block, however that comes."""
    with undone_by_a_signal(undo):
        try:
            yield
        finally:
            undo()


def undo_all() -> None:
    """Call what blocks that have not ended would call, the innermost first."""
    for undo in reversed(list(_pending.values())):
        with contextlib.suppress(Exception):
            undo()


@contextlib.contextmanager
def running(process: subprocess.Popen[Any]) -> Iterator[None]:
    """A child that ends with the block, or with this process if a signal ends it. Also waits for it."""
    with undone_by_a_signal(process.kill):
        try:
            yield
        finally:
            process.kill()
            process.wait()


def descendants(of: int | None = None) -> list[int]:
    """Every process that one started, this one unless another is named, and those that they did, by number (Linux;
    elsewhere none)."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(status.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(status.parent.name))
    found: list[int] = []
    waiting = [os.getpid() if of is None else of]
    while waiting:
        children = parents.get(waiting.pop(), [])
        waiting += children
        found += children
    return found


def kill_all(processes: Iterable[int]) -> None:
    """Kill processes, those that are still there."""
    for process in processes:
        with contextlib.suppress(OSError):
            os.kill(process, signal.SIGKILL)


def end_with_parent() -> None:
    """For a child: end when the parent is killed (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
