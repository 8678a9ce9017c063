"""Listings: text files that name images of a source."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError
from efq.runtime.reading import read_text
from efq.toolchain.data.sources.source import FaceSource

_NAMED = 3

_logger = logging.getLogger(__name__)


def read_listing(listing: Path, source: FaceSource) -> list[str]:
    """The keys a listing names, one a line (what follows a tab is ignored), sorted, each once.

    Raises InputError, with the lines, for what is not in `source`, and for a listing that names nothing or pairs.
    """
    keys: list[str] = []
    unknown: list[tuple[str, str]] = []
    for number, line in read_lines(listing, "image paths"):
        path, *rest = line.split("\t")
        key = find_key(path, source)
        if key is None:
            unknown.append((f"line {number}", path.strip()))
        else:
            keys.append(key)
        if len(rest) == 3 and find_key(rest[0], source) is not None:
            message = f"expected one image a line in {listing}, found a pair in line {number}; give it as --pairs"
            raise InputError(message)
    if unknown:
        raise not_in_source(listing, source, unknown)
    if not keys:
        message = f"expected paths of images in {source.name} in {listing}, one a line, found none"
        raise InputError(message)
    found = sorted(set(keys))
    if len(found) < len(keys):
        _logger.info("%s names %d images more than once: they are taken once", listing, len(keys) - len(found))
    return found


def find_key(text: str, source: FaceSource) -> str | None:
    """The key of `source` that a line of a file means by `text`; None when there is none.

    Taken as it stands, or else without spaces around it, with / for backslashes, relative to the source's folder where
    it is absolute, and with accents written in the normal forms NFC or NFD.
    """
    return next((key for key in _spellings(text, source.name) if key in source), None)


def _spellings(text: str, root: str) -> Iterator[str]:
    bare = text.strip()
    for form in dict.fromkeys((text, bare, bare.replace("\\", "/"))):
        if not form.strip():
            continue
        path = PurePosixPath(form)  # without parts that are `.` or empty, as sources write their keys
        if path.is_absolute():
            real = os.path.realpath(root)
            bases = (PurePosixPath(os.path.abspath(root)), PurePosixPath(real))  # noqa: PTH100 (links stay)
            path = next((path.relative_to(base) for base in bases if path.is_relative_to(base)), path)
        key = path.as_posix()
        yield from dict.fromkeys((key, unicodedata.normalize("NFC", key), unicodedata.normalize("NFD", key)))


def not_in_source(file: Path, source: FaceSource, unknown: Sequence[tuple[str, str]]) -> InputError:
    """The error for places ("line 3") in `file` whose text names no image of `source`."""
    shown = ", ".join(f"{place} {text[:200]!r}" for place, text in unknown[:_NAMED])
    more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
    return InputError(
        f"expected paths of images in {source.name} in {file}, found {len(unknown)} that are not there, or may not be "
        f"read: {shown}{more}; name the faces the paths are of (--faces), as a rule the folder they are relative to"
    )


def read_lines(file: Path, content: str) -> list[tuple[int, str]]:
    """Number, from 1, and text of each line with something on it in a UTF-8 text file of `content`.

    Raises InputError when it cannot be read or is none.
    """
    text = read_text(file, expected=f"a text file of {content}")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
