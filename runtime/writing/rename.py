"""Renames in one step, as renameat2 of Linux offers them; elsewhere in the fewest steps there are."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

from efq.runtime.writing.partials import partial_name, remove

_AT_FDCWD = -100
_NOREPLACE, _EXCHANGE = 1, 2
_UNKNOWN = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM}  # to the kernel, the file system or a sandbox
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV}


def move_new(temporary: Path, path: Path) -> None:
    """Give the file `temporary` the name `path`. Raises FileExistsError, and keeps what is there, if it is taken."""
    if _renameat2(temporary, path, _NOREPLACE):
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        temporary.rename(path)
    else:
        temporary.unlink()


def exchange_folder(temporary: Path, path: Path) -> None:
    """Put the folder `temporary` in the place of the folder `path`, which then is removed.

    On Linux (renameat2 with RENAME_EXCHANGE) `path` is one or the other at every moment; elsewhere, and on file systems
    without it, two renames leave a moment without either.
    """
    if _renameat2(temporary, path, _EXCHANGE):
        return
    previous = partial_name(path, "previous")
    path.rename(previous)
    try:
        temporary.rename(path)
    except BaseException:
        with contextlib.suppress(OSError):
            previous.rename(path)
        raise
    remove(previous)


def _renameat2(old: Path, new: Path, flag: int) -> bool:
    """Whether it was done; False where it is not known. Raises OSError."""
    call = _find_renameat2()
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flag) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNKNOWN:
        return False
    raise OSError(code, os.strerror(code), str(new))


@functools.cache
def _find_renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    found: Callable[[int, bytes, int, bytes, int], int] = call
    return found
