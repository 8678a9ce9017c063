"""Files that are either whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.runtime.writing.partials import held_partial, sweep_beside, sweep_partials, written_elsewhere
from efq.runtime.writing.places import cannot_write, file_place, folder_made, folder_place, refuse_inputs, taken
from efq.runtime.writing.rename import exchange_folder, move_new

__all__ = [
    "atomic_directory",
    "atomic_file",
    "atomic_write_bytes",
    "atomic_write_text",
    "cache_folder",
    "refuse_inputs",
    "reserved",
    "sweep_beside",
    "sweep_partials",
    "temporary_folder",
]


@contextlib.contextmanager
def atomic_file(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a new empty file beside `path`, to be filled, that becomes `path` on success and is removed on failure.

    Its folder is made where needed. A file that is replaced leaves its permissions to the new one; a link stays, and
    what it leads to is replaced. What killed processes left of the same file is removed first.

    Raises UsageError when the file cannot be written, when `path` is no regular file, or when there is one, at the
    beginning or at the end, and not `replace`.
    """
    place = file_place(path, replace=replace)
    try:
        with folder_made(place.parent):
            sweep_beside(place)
            with held_partial(place) as temporary:
                yield temporary
                _keep_permissions(temporary, place)
                _name_file(temporary, path, place, replace=replace)
    except OSError as error:
        raise cannot_write(path, error) from error


def atomic_write_bytes(path: Path, data: bytes, *, replace: bool = True) -> None:
    """Write `data` to `path` as `atomic_file` does; `path` never holds a part of it."""
    with atomic_file(path, replace=replace) as temporary, temporary.open("r+b") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def atomic_write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, as `atomic_write_bytes` does."""
    atomic_write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_directory(path: Path, *, force: bool) -> Iterator[Path]:
    """Yield a new folder beside `path` that becomes `path` on success and is removed on failure.

    With `force` an existing folder is replaced as a whole, so nothing of an older content stays; on Linux there is one
    or the other at every moment (`writing.rename.exchange_folder`). What killed processes left of it is removed first.

    Raises UsageError when `path` is a file, cannot be written, or is not empty, at the beginning or at the end, or is
    being written by another process, and `force` is not given.
    """
    place = folder_place(path, replace=force)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_made(place.parent))
            _refuse_if_written_elsewhere(path, place, force=force)
            sweep_beside(place)
            temporary = stack.enter_context(held_partial(place, folder=True))
        except OSError as error:
            raise cannot_write(path, error) from error
        yield temporary
        try:
            _move_into_place(temporary, place, force=force)
        except OSError as error:
            folder_place(path, replace=force)  # says where another run was faster
            raise cannot_write(path, error) from error


@contextlib.contextmanager
def reserved(path: Path, *, replace: bool, folder: bool = False) -> Iterator[None]:
    """Hold the place of an output while the work for it goes on, which may take hours.

    Raises UsageError at once for what `atomic_file`, or `atomic_directory` with `folder`, would refuse at the end, and
    where another process holds this place and not `replace`. What killed processes left of the output is removed.
    """
    place = (folder_place if folder else file_place)(path, replace=replace)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder_made(place.parent))
            _refuse_if_written_elsewhere(path, place, force=replace)
            sweep_beside(place)
            stack.enter_context(held_partial(place))
        except OSError as error:
            raise cannot_write(path, error) from error
        yield


@contextlib.contextmanager
def temporary_folder(purpose: str) -> Iterator[Path]:
    """A new folder of this user alone among the system's temporary files, removed at the end.

    What killed processes left of the same `purpose` is removed first. Raises UsageError where it cannot be made.
    """
    import tempfile  # a service starts without it

    with contextlib.ExitStack() as stack:
        try:
            base = Path(tempfile.gettempdir()) / purpose
            str(base).encode()  # libraries take names as UTF-8
            sweep_beside(base)
            folder = stack.enter_context(held_partial(base, folder=True, mode=0o700))
        except (OSError, UnicodeEncodeError) as error:
            message = f"expected a folder for temporary files, found: {error}; set TMPDIR to one with room"
            raise UsageError(message) from error
        yield folder


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


def _refuse_if_written_elsewhere(path: Path, place: Path, *, force: bool) -> None:
    if not force and written_elsewhere(place):
        message = f"expected an output that no other run writes, found one at work on {path}: choose another name"
        raise UsageError(message)


def _keep_permissions(temporary: Path, place: Path) -> None:
    with contextlib.suppress(OSError):  # nothing there, or a file system without permissions
        temporary.chmod(stat.S_IMODE(place.stat().st_mode))


def _name_file(temporary: Path, path: Path, place: Path, *, replace: bool) -> None:
    if replace:
        temporary.replace(place)
        return
    try:
        move_new(temporary, place)
    except FileExistsError as error:
        raise taken(path) from error


def _move_into_place(temporary: Path, place: Path, *, force: bool) -> None:
    """Raises OSError, also where a folder that is not empty came there in the meantime and not `force`."""
    if not place.exists():
        temporary.rename(place)
        return
    _keep_permissions(temporary, place)
    if force:
        exchange_folder(temporary, place)
        return
    try:
        temporary.rename(place)  # takes the place of an empty folder, and of no other
    except PermissionError:
        place.rmdir()  # Windows
        temporary.rename(place)
