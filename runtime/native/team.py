"""Threads that compute an image together (`source/team.cpp`)."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from efq.runtime.errors import DeviceError


class Team:
    """`threads` with the calling one; the others begin with the first call they share, and end with `close`.

    They are bound to `cpus` as far as those go. It is at one call at a time. The child of a fork has none of its
    threads: there a call is computed by the calling thread alone, and nothing is waited for.
    """

    def __init__(self, library: ctypes.CDLL, threads: int, cpus: Sequence[int] = ()) -> None:
        """Of the kernels' `library`. Raises DeviceError where memory is lacking."""
        self._library = library
        self.threads = threads
        self.pointer = library.efq_team_new(threads, (ctypes.c_int32 * len(cpus))(*cpus), len(cpus))
        if not self.pointer:
            message = "expected memory for threads, found too little: free some"
            raise DeviceError(message)

    def close(self) -> None:
        """End the threads; no call may be running, and none may follow."""
        pointer, self.pointer = self.pointer, None
        if pointer:
            self._library.efq_team_free(pointer)

    def __del__(self) -> None:
        if getattr(self, "pointer", None):
            self.close()
