"""How far a long task is: functions take a `ShowProgress`, and only commands show anything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Counts finished items; `fields` are shown beside the count (loss=0.12)."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count `n` more items as finished."""


class ShowProgress(Protocol):
    """Begins a task of `total` items, None where their number is not known; the context ends it."""

    def __call__(self, description: str, total: int | None, unit: str = "") -> AbstractContextManager[Progress]: ...


class _Silent:
    def advance(self, n: int = 1, **fields: float | str) -> None:
        return


@contextlib.contextmanager
def no_progress(description: str, total: int | None, unit: str = "") -> Iterator[Progress]:
    """Shows nothing: what libraries do unless they are given something else."""
    yield _Silent()
