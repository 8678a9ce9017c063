"""How long a model's sessions are used: by calls from any thread until it is closed, which waits for those that run."""

from __future__ import annotations

import threading
import weakref
from typing import Generic, TypeVar

from efq.runtime.errors import UsageError

Held = TypeVar("Held")


class Lifetime(Generic[Held]):
    """Holds what the calls of a model need. Each call is made so:

        with lifetime.call():
            sessions = lifetime.held()
            ...

    `call` gives a lock of the calling thread's own, so that no signal handler which raises (Ctrl-C) leaves a call
    uncounted, and one that closes the model waits for the calls of other threads, not for the one it interrupted. That
    goes on with what it got; what is held is freed with its last reference.
    """

    def __init__(self, held: Held) -> None:
        self._held: Held | None = held
        self._of_this_thread = threading.local()
        self._registering = threading.RLock()
        self._locks: weakref.WeakSet[threading.RLock] = weakref.WeakSet()

    def call(self) -> threading.RLock:
        """What this thread holds during a call."""
        lock: threading.RLock | None = getattr(self._of_this_thread, "lock", None)
        if lock is None:
            lock = threading.RLock()
            with self._registering:
                self._locks.add(lock)
            self._of_this_thread.lock = lock
        return lock

    def held(self) -> Held:
        """What was given to hold. Raises UsageError once the model is closed."""
        held = self._held
        if held is None:
            message = "expected an open model, found one that was closed; open it again"
            raise UsageError(message)
        return held

    def close(self) -> None:
        """Refuse calls from now on, and wait for those of other threads that run. Again it does nothing."""
        self._held = None
        with self._registering:
            locks = list(self._locks)
        for lock in locks:
            with lock:
                pass
