"""A fork waits for calls of SQLite, and closes what they opened: a child that goes on with its parent's locks would
break the file (https://www.sqlite.org/howtocorrupt.html, 2.6). Both open it again when they next need it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import Protocol


class Closable(Protocol):
    """What is closed before a fork."""

    was_inherited: bool
    """Set in a child that did not have it closed, as a fork of a C program does not tell."""

    @property
    def is_open(self) -> bool:
        """Whether there is anything to close."""

    def close_all(self) -> None:
        """Close it; it may be used again after that."""


_turn = threading.Condition(threading.RLock())
_active = 0
_forking = 0
_open: weakref.WeakSet[Closable] = weakref.WeakSet()


def watch(closable: Closable) -> None:
    """Have it closed before each fork."""
    with _turn:
        _open.add(closable)


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Keep a fork waiting meanwhile. Not to be nested."""
    global _active
    with _turn:
        while _forking:
            _turn.wait()
        _active += 1
    try:
        yield
    finally:
        with _turn:
            _active -= 1
            _turn.notify_all()


def _before() -> None:
    global _forking
    _turn.acquire()
    _forking += 1
    while _active:
        _turn.wait()
    for closable in _open:
        closable.close_all()


def _after_in_parent() -> None:
    global _forking
    _forking -= 1
    _turn.notify_all()
    _turn.release()


def _after_in_child() -> None:
    global _turn, _active, _forking
    _turn = threading.Condition(threading.RLock())
    _active = _forking = 0
    for closable in _open:
        closable.was_inherited = closable.is_open


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
