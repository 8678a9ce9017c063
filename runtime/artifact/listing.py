"""Which files of an artifact's folder are the artifact's, and that none of them lies elsewhere."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator
from pathlib import Path, PurePosixPath
from typing import NoReturn

from efq.runtime.errors import ChecksumError

_LEFTOVERS = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__macosx", "lost+found", "$recycle.bin", "@eadir"}
    | {"system volume information"}
)


def files_of(directory: Path, *, left_out: Container[str]) -> Iterator[str]:
    """The names of all files in the folder and those below, relative to it, with forward slashes.

    Not counted are those named in `left_out`, and what EFQ never reads: names with a dot in front (what systems,
    version control and processes that died leave there) and a system's own (Thumbs.db, desktop.ini). A link to a folder
    counts as a file.
    Raises ChecksumError for a folder that cannot be listed.
    """

    def counts(place: Path, name: str) -> bool:
        is_rubbish = name.startswith(".") or name.casefold() in _LEFTOVERS
        return not is_rubbish and not (place == directory and name in left_out)

    for folder, folders, files in os.walk(directory, onerror=_cannot_list):
        place = Path(folder)
        linked = [name for name in folders if (place / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name not in linked and counts(place, name))
        yield from sorted(
            (place / name).relative_to(directory).as_posix() for name in (*files, *linked) if counts(place, name)
        )


def is_plain_name(name: str) -> bool:
    """Whether it names a file inside a folder, in one way only and on every system."""
    path = PurePosixPath(name)
    known = str(path) == name and name != "." and not path.is_absolute() and ".." not in path.parts
    return known and not set(name) & {"\\", ":", "\0"} and name.isprintable()


def check_inside(directory: Path, name: str) -> None:
    """Check that a listed file is not a link to a place outside the folder. Raises ChecksumError.

    The cache of Hugging Face's hub is one that is: it keeps files in `blobs` and links to them from
    `snapshots/<revision>`.
    """
    path = directory / name
    try:
        base, found = directory.resolve(), path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a link that leads back to itself
        message = f"expected a file of the artifact at {path}, found a link that cannot be followed ({error})"
        raise ChecksumError(message) from error
    allowed = [base]
    if base.parent.name == "snapshots":
        allowed.append(base.parent.parent / "blobs")
    if not any(found.is_relative_to(place) for place in allowed):
        message = f"expected a file of the artifact at {path}, found a link to {found}, outside it: copy the file there"
        raise ChecksumError(message)


def _cannot_list(error: OSError) -> NoReturn:
    message = (
        f"expected a folder that can be listed at {error.filename}, found: {error.strerror}; check its permissions"
    )
    raise ChecksumError(message) from error
