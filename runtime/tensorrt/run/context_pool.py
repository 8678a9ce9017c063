"""A pool of what one thread may use at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from efq.runtime.errors import UsageError


class Poolable(Protocol):
    """What a pool can hold."""

    def is_usable(self) -> bool:
        """Whether it can be used again after an exception."""

    def close(self) -> None:
        """Free it; never raises."""


Item = TypeVar("Item", bound=Poolable)


class ContextPool(Generic[Item]):
    """At most `limit` items, made when they are first needed; who finds none free waits for one."""

    def __init__(self, create: Callable[[], Item], limit: int) -> None:
        """Raises UsageError for a limit below one."""
        if limit < 1:
            message = f"expected at least one execution context, found {limit}"
            raise UsageError(message)
        self._create = create
        self._limit = limit
        self._changed = threading.Condition()
        self._idle: list[Item] = []
        self._existing = 0
        self._closed = False

    @contextlib.contextmanager
    def lease(self) -> Iterator[Item]:
        """An item for this thread alone. After an exception it goes back if it is usable, and is closed if not.

        Raises UsageError once the pool is closed, and what `create` raises.
        """
        item = self._take()
        if item is None:
            item = self._made()
        usable = False
        try:
            yield item
            usable = True
        except BaseException:
            usable = item.is_usable()
            raise
        finally:
            self._give(item, usable=usable)

    def close(self) -> bool:
        """Refuse new leases, wait until the last item is given back and close them all; whether this call did it."""
        with self._changed:
            first = not self._closed
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: len(self._idle) == self._existing)
            items, self._idle, self._existing = self._idle, [], 0
        for item in items:
            item.close()
        return first

    def _take(self) -> Item | None:
        """An idle item, or None with the right to make one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._idle or self._existing < self._limit)
            if self._closed:
                message = "expected an open model, found one that was closed; open it again"
                raise UsageError(message)
            if self._idle:
                return self._idle.pop()
            self._existing += 1
            return None

    def _made(self) -> Item:
        try:
            return self._create()
        except BaseException:
            self._forget()
            raise

    def _give(self, item: Item, *, usable: bool) -> None:
        if not usable:
            item.close()
            self._forget()
            return
        with self._changed:
            self._idle.append(item)
            self._changed.notify_all()

    def _forget(self) -> None:
        with self._changed:
            self._existing -= 1
            self._changed.notify_all()
