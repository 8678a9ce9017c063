"""Listings: text files that name images of a source."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError
from efq.toolchain.data.sources.source import FaceSource


def read_listing(listing: Path, source: FaceSource) -> list[str]:
    """The keys a listing names, one a line (what follows a tab is ignored), sorted, each once.

    Raises InputError, with the line, for what is not in `source`, and for a listing that names nothing.
    """
    keys: set[str] = set()
    for number, line in enumerate(read_lines(listing, "image paths"), start=1):
        path = line.split("\t")[0].strip()
        if not path:
            continue
        key = normalized_key(path)
        if key not in source:
            message = f"expected the path of an image in {source.name} in {listing}, line {number}, found {path!r}"
            raise InputError(message)
        keys.add(key)
    if not keys:
        message = f"expected paths of images in {source.name} in {listing}, one a line, found none"
        raise InputError(message)
    return sorted(keys)


def normalized_key(path: str) -> str:
    """`path` as sources write their keys: no part is `.` or empty."""
    return PurePosixPath(path).as_posix()


def read_lines(file: Path, content: str) -> list[str]:
    """The lines of a UTF-8 text file of `content`. Raises InputError when it cannot be read or is none."""
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"expected a text file of {content} at {file}, found: {error}"
        raise InputError(message) from error
