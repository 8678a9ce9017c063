"""When a model may be used: calls from any thread until it is closed, which waits for those that are running."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from efq.runtime.errors import UsageError


class Lifetime:
    """`with lifetime:` around each call of a model; it raises UsageError once the model is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._closed = False

    def __enter__(self) -> Self:
        with self._changed:
            if self._closed:
                message = "expected an open model, found one that was closed; open it again"
                raise UsageError(message)
            self._running += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._changed:
            self._running -= 1
            if self._closed:
                self._changed.notify_all()

    def close(self) -> bool:
        """Refuse calls from now on and wait for the last; False for every close but the first.

        Call it outside `with`, or it waits for itself.
        """
        with self._changed:
            first, self._closed = not self._closed, True
            self._changed.wait_for(lambda: self._running == 0)
            return first
