"""What a fork leaves of a process with threads: the forking thread alone, and every lock as it was."""

from __future__ import annotations

import ctypes
import os
import threading

loading = threading.RLock()
"""Held while a runtime is imported or makes a session, without waiting for another thread.

Two of these at once are not safe in every runtime, and a fork waits for them: native libraries hold locks of their own
meanwhile, for which the child would wait for ever.
"""


def _free_in_child() -> None:
    try:
        loading.release()
    except RuntimeError:  # the fork was that of a C program (uWSGI), which tells Python afterwards only
        loading._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=loading.acquire, after_in_parent=loading.release, after_in_child=_free_in_child)


class RenewedLock:
    """`with renewed.lock:` for a lock of a module's, which is free in the child of a fork whoever held it before."""

    def __init__(self) -> None:
        self._renew()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.Lock()


def keep_for_ever(thing: object) -> None:
    """Never free `thing`, not even when the interpreter ends: its destructor would wait for the parent's threads."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
