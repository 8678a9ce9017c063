"""How long a model's sessions are used: by calls from any thread until it is closed, which waits for those that run."""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from efq.runtime.errors import UsageError
from efq.runtime.machine.forks import loading

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
        with _registering:
            _lifetimes.add(self)

    def call(self) -> threading.RLock:
        """What this thread holds during a call."""
        lock: threading.RLock | None = getattr(self._of_this_thread, "lock", None)
        if lock is None:
            with self._registering:
                lock = threading.RLock()
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

    def held_or_none(self) -> Held | None:
        """What was given to hold, or None once the model is closed."""
        return self._held

    def close(self) -> bool:
        """Refuse calls from now on, and wait for those of other threads that run; whether none of this thread does."""
        self._held = None
        with self._registering:
            locks = list(self._locks)
        for lock in locks:
            with lock:
                pass
        return not _is_mine(self.call())

    def locks(self) -> Iterator[threading.RLock]:
        """One after the other: holding all, there are no calls of other threads, and none begins."""
        yield self._registering
        yield from list(self._locks)


def _is_mine(lock: threading.RLock) -> bool:
    """Whether this thread holds it: only then it may notify."""
    try:
        threading.Condition(lock).notify()
    except RuntimeError:
        return False
    return True


_lifetimes: weakref.WeakSet[Lifetime[Any]] = weakref.WeakSet()
_registering = threading.RLock()
_stopped: list[threading.RLock] = []
_ended: list[bool] = []


def _stop_all() -> None:
    """Wait for the calls of other threads, of every model, and let none begin."""
    _hold(_registering)
    for lifetime in list(_lifetimes):
        for lock in lifetime.locks():
            _hold(lock)


def _hold(lock: threading.RLock) -> None:
    _stopped.append(lock)
    lock.acquire()


def _go_on() -> None:
    while _stopped:
        with contextlib.suppress(RuntimeError):  # a signal handler raised before it was acquired
            _stopped.pop().release()


def _end() -> None:
    """When the interpreter ends: daemon threads that came back from native code then would abort the process.

    They wait for the end instead; the thread that ends it may go on calling.
    """
    _stop_all()
    loading.acquire()
    _ended.append(True)


def interpreter_ends() -> bool:
    """Whether only the thread that ends it may go on: others wait for what it holds."""
    return bool(_ended)


atexit.register(_end)
if hasattr(os, "register_at_fork"):
    # The child has the memory of a native call as it was, with its locks, and not the thread that was in it.
    os.register_at_fork(before=_stop_all, after_in_parent=_go_on, after_in_child=_go_on)
    os.register_at_fork(after_in_child=_lifetimes.clear)
