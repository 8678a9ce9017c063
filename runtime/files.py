"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from efq.runtime.errors import InputError, UsageError


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write `data` to `path`, making its folder where needed; `path` never holds a part of it.

    Raises UsageError when the file cannot be written there.
    """
    temporary = _sibling(path, "partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _cannot_write(path, error) from error


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, as `atomic_write_bytes` does."""
    atomic_write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_directory(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield a new folder beside `path` that becomes `path` on success and is removed on failure.

    With `force` an existing folder is replaced as a whole, so nothing of an older content stays.
    Raises UsageError when `path` is a file, cannot be written, or is not empty and `force` is not given.
    """
    path = path.resolve()
    _check_replaceable(path, force=force)
    temporary = _sibling(path, "partial")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield temporary
        try:
            _move_into_place(temporary, path)
        except OSError as error:
            raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits. Raises InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"expected a readable file at {path}, found: {error.strerror or error}"
        raise InputError(message) from error


def cache_folder() -> Path:
    """EFQ's folder for what can be computed again: `$EFQ_CACHE`, or `efq` in the platform's cache folder.

    Raises UsageError for a user without a home folder who names no other.
    """
    chosen = os.environ.get("EFQ_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "efq"
    except RuntimeError as error:
        message = f"expected a home folder for the cache, found none ({error}); set EFQ_CACHE to a folder"
        raise UsageError(message) from error


def _sibling(path: Path, purpose: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{purpose}")


def _cannot_write(path: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot write {path}: {error.strerror or error}; choose another place with -o")


def _check_replaceable(path: Path, *, force: bool) -> None:
    if path.exists() and not path.is_dir():
        message = f"expected a folder at {path}, found a file; choose another folder"
        raise UsageError(message)
    if not path.exists() or not any(path.iterdir()):
        return
    if not force:
        message = f"expected a new or empty folder at {path}, found files in it; use --force to replace them all"
        raise UsageError(message)
    for kept in (Path.cwd(), Path.home()):
        if kept.resolve().is_relative_to(path):
            message = f"{path} holds {kept} and is not replaced, even with --force; choose another folder"
            raise UsageError(message)


def _move_into_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    previous = _sibling(path, "previous")
    path.rename(previous)
    try:
        temporary.rename(path)
    except OSError:
        previous.rename(path)
        raise
    shutil.rmtree(previous, ignore_errors=True)
