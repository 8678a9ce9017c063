"""What a process has to undo before it ends: temporary files, folders, children.

Context managers do so on their way out. A command that a signal ends has no such way (`runtime.commands.signals`): it
calls `undo_all`.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

_pending: dict[object, Callable[[], object]] = {}


@contextlib.contextmanager
def undone_at_the_end(undo: Callable[[], object]) -> Iterator[None]:
    """Call `undo` at the end of the block, or when a signal ends the process within it.

    `undo` may find nothing to do, and may not raise.
    """
    key = object()
    _pending[key] = undo
    try:
        yield
    finally:
        undo()
        del _pending[key]


def undo_all() -> None:
    """Call what blocks that have not ended would call, the innermost first."""
    for undo in reversed(list(_pending.values())):
        with contextlib.suppress(Exception):
            undo()


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """A new folder among the system's temporary ones, removed at the end, also at that by a signal."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    with undone_at_the_end(lambda: shutil.rmtree(folder, ignore_errors=True)):
        yield folder
