"""Where a file or a folder may be written, checked before any work is done for it.

A link is followed: what it points to is written, and the link stays.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from efq.runtime.errors import UsageError

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFREG: "a file",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def file_place(path: Path, *, replace: bool) -> Path:
    """`path` with its links followed, for a file that is to be written there.

    Raises UsageError for what is there and no regular file, or any file unless `replace`.
    """
    place, status = _look(path)
    if status is not None and not stat.S_ISREG(status.st_mode):
        _refuse(path, "the name of a file to write", status)
    if status is not None and not replace:
        raise taken(path)
    return place


def folder_place(path: Path, *, replace: bool) -> Path:
    """`path` with its links followed, for a folder that is to be written there as a whole.

    Raises UsageError for what is there and no folder, for a folder that is not empty unless `replace`, and for one
    that is never replaced: a mount point, or what holds the current or the home folder.
    """
    place, status = _look(path)
    if status is None:
        return place
    if not stat.S_ISDIR(status.st_mode):
        _refuse(path, "a folder to write", status)
    for kept, name in ((_here(), "the current folder"), (_home(), "the home folder")):
        if kept is not None and kept.is_relative_to(place):
            message = f"{path} is or holds {name}, {kept}, and is not replaced, even with --force; name a new folder"
            raise UsageError(message)
    if place.is_mount():
        message = f"{path} is a mount point and cannot be replaced; name a new folder inside it"
        raise UsageError(message)
    if not replace and _has_entries(path, place):
        message = f"expected a new or empty folder at {path}, found files in it; use --force to replace them all"
        raise UsageError(message)
    return place


def refuse_inputs(output: Path, inputs: Mapping[str, Path | None]) -> None:
    """Raise UsageError where writing `output`, a file or a folder, would replace one of `inputs`, by what they are.

    That is the input itself, one inside an output folder, or an output inside an artifact folder.
    """
    place = _resolved(output)
    for name, path in inputs.items():
        found = None if path is None else _resolved(path)
        if found is None or not found.exists():
            continue
        holds_artifact = (found / "checksums.sha256").is_file() and place.is_relative_to(found)
        if found == place or found.is_relative_to(place) or holds_artifact or _same_file(found, place):
            message = (
                f"expected an output that is no input, found that {output} is, holds or is in {name}, {path}; "
                "choose another name"
            )
            raise UsageError(message)


@contextlib.contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """Make `folder` and those above it where they are not there; if the block fails those that stayed empty go."""
    made = [parent for parent in (folder, *folder.parents) if not os.path.lexists(parent)]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for parent in made:
                parent.rmdir()
        raise


def cannot_write(path: Path, error: OSError) -> UsageError:
    """The UsageError for what the system said."""
    return UsageError(f"cannot write {path}: {error.strerror or error}; choose another place with -o, or make room")


def taken(path: Path) -> UsageError:
    """The UsageError for a file that is not to be replaced."""
    return UsageError(f"expected a new output file, found {path}: choose another name, or --force")


def _look(path: Path) -> tuple[Path, os.stat_result | None]:
    """Where `path` leads, and what is there, None for nothing. Raises UsageError for a path that cannot be one."""
    try:
        try:
            return _resolved(path), path.stat()
        except FileNotFoundError:
            return _resolved(path), None
    except OSError as error:
        raise cannot_write(path, error) from error


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # no current folder; a circle of links; a null byte
        message = f"expected a path, found {str(path)!r}: {error}; choose another name"
        raise UsageError(message) from error


def _has_entries(path: Path, place: Path) -> bool:
    try:
        return any(place.iterdir())
    except OSError as error:
        raise cannot_write(path, error) from error


def _same_file(one: Path, two: Path) -> bool:
    try:
        return one.is_file() and one.samefile(two)
    except OSError:
        return False


def _here() -> Path | None:
    try:
        return Path.cwd().resolve()
    except OSError:  # it was deleted
        return None


def _home() -> Path | None:
    try:
        return Path.home().resolve()
    except (OSError, RuntimeError):  # a user without one
        return None


def _refuse(path: Path, expected: str, status: os.stat_result) -> NoReturn:
    found = _KINDS.get(stat.S_IFMT(status.st_mode), "no regular file")
    message = f"expected {expected}, found {found} at {path}; choose another place with -o"
    raise UsageError(message)
