"""Temporary files and folders beside the ones they are to become.

Each is locked (flock) by the process that writes it for as long as it does, so that one that is not locked was left by
a process that was killed, in this container or in another one that shares the folder: `sweep_partials` removes those,
and never one that is in use. Process numbers could not tell. Where a platform or a file system has no such lock
nothing is swept.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from efq.runtime.cleanup import undone_at_the_end

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PARTIAL = re.compile(r"\.(.+)\.[0-9a-f]{12}\.(partial|previous)", re.DOTALL)
_LONGEST_NAME = 200  # bytes, of the 255 that file systems have
_OPEN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)

_held: set[Path] = set()  # by this process


def partial_name(path: Path, purpose: str = "partial") -> Path:
    """A new name beside `path`."""
    return path.with_name(f".{_stem(path)}.{secrets.token_hex(6)}.{purpose}")


@contextlib.contextmanager
def held_partial(path: Path, *, folder: bool = False, mode: int = 0o777) -> Iterator[Path]:
    """An empty file or folder beside `path` that nobody sweeps until the end; what is there then is removed.

    `mode` holds the permissions of a folder, less the umask.

    Raises OSError when it cannot be made.
    """
    temporary = partial_name(path)
    with undone_at_the_end(lambda: remove(temporary)):
        descriptor = _make_locked(temporary, mode if folder else None)
        _held.add(temporary)
        try:
            yield temporary
        finally:
            _held.discard(temporary)
            if descriptor is not None:
                os.close(descriptor)


def sweep_partials(folder: Path, pattern: str = "*") -> list[Path]:
    """Remove what killed processes left in `folder` of files whose names fit `pattern`, as fnmatch has it.

    What a process still holds stays. A folder that was moved aside and not yet replaced takes its place again. Never
    raises; returns what is gone.
    """
    return [path for path, name in _partials(folder, pattern) if _sweep(path, name)]


def sweep_beside(path: Path) -> list[Path]:
    """Remove what killed processes left of `path` alone."""
    return sweep_partials(path.parent, glob.escape(_stem(path)))


def written_elsewhere(path: Path) -> bool:
    """Whether another process holds a partial file or folder of `path` right now."""
    found = _partials(path.parent, glob.escape(_stem(path)))
    return any(_is_locked(partial) for partial, _ in found if partial not in _held)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, as far as that can be done."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _stem(path: Path) -> str:
    """The name in a partial's name: that of `path`, cut where a file system would take no longer one."""
    encoded = os.fsencode(path.name)
    if len(encoded) <= _LONGEST_NAME:
        return path.name
    digest = hashlib.sha256(encoded).hexdigest()[:16]
    return f"{encoded[: _LONGEST_NAME // 2].decode('utf-8', 'ignore')}.{digest}"


def _make_locked(temporary: Path, folder_mode: int | None) -> int | None:
    """Make and lock it; a sweep that comes between the two removes it, and it is made again."""
    folder = folder_mode is not None
    while True:
        if folder_mode is not None:
            temporary.mkdir(folder_mode)
        if folder and fcntl is None:
            return None
        try:
            flags = os.O_RDONLY if folder else os.O_RDWR | os.O_CREAT | os.O_EXCL
            descriptor = os.open(temporary, flags | _OPEN, 0o666)
        except FileNotFoundError:
            if folder:
                continue
            raise
        _lock(descriptor)
        if _is_at(descriptor, temporary):
            return descriptor
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def _partials(folder: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    try:
        found = list(folder.iterdir())
    except OSError:
        return
    for path in found:
        match = _PARTIAL.fullmatch(path.name)
        if match is not None and fnmatch.fnmatchcase(match[1], pattern):
            yield path, match[1]


def _sweep(path: Path, name: str) -> bool:
    with _locked_here(path) as locked:
        if not locked:
            return False
        with contextlib.suppress(OSError):
            original = path.with_name(name)
            if path.suffix == ".previous" and not original.exists():
                path.rename(original)
        remove(path)
        return not os.path.lexists(path)


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock; False where that cannot be told."""
    if fcntl is None:
        return False
    try:
        descriptor = _open_for_lock(path)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def _locked_here(path: Path) -> Iterator[bool]:
    """Hold the lock of a file or folder that nobody holds; False where one does, or that cannot be told."""
    if fcntl is None or path in _held:
        yield False
        return
    try:
        descriptor = _open_for_lock(path)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield _is_at(descriptor, path)
    finally:
        os.close(descriptor)


def _open_for_lock(path: Path) -> int:
    mode = path.lstat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        message = f"no file and no folder: {path}"
        raise OSError(message)
    return os.open(path, (os.O_RDONLY if stat.S_ISDIR(mode) else os.O_RDWR) | _OPEN)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except OSError:
        return False
