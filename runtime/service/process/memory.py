"""Memory that goes back to the system once it is free."""

from __future__ import annotations

import contextlib
import ctypes
import gc

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8  # of malloc.h
_BYTES = 128 * 1024


def give_memory_back() -> None:
    """Have glibc's allocator, where this is one, return large buffers at once, as it does until it has seen one.

    It raises its thresholds to the largest buffer that was freed, up to 32 MiB: after a photo of that size all that is
    smaller comes from heaps, a thread each, which keep it.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_TRIM_THRESHOLD, _BYTES)
        library.mallopt(_MMAP_THRESHOLD, _BYTES)
        library.mallopt(_ARENA_MAX, 2)


def settle() -> None:
    """Once all is loaded: the collector does not look at it again, and what loading it has freed is returned."""
    gc.collect()
    gc.freeze()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
