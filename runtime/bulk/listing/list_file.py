"""A list of images that the user brings: a path a line, or a table with people or landmarks."""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from efq.runtime.bulk.listing.listed import ListedImage
from efq.runtime.errors import InputError
from efq.runtime.faces.landmark_columns import POINTS, SIZE_COLUMNS
from efq.runtime.file_kinds import FIRST_BYTES, kind_of_bytes
from efq.runtime.reading import FILE_LIMIT, open_regular

EXPECTED = "a list of images, a path a line or CSV with a column path"

_PATH, _PERSON = "path", "person"
_LONGEST_LINE = 1 << 16  # characters


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageList:
    """A list that is being read. images: to be taken once. has_people, has_landmarks: whether it has their columns."""

    images: Iterator[ListedImage]
    has_people: bool
    has_landmarks: bool


@contextlib.contextmanager
def open_list(path: Path) -> Iterator[ImageList]:
    """Open a list, which is read as its images are taken.

    It is a path a line, or CSV whose first row names its columns: `path`, and where wanted `person` and `x1`, `y1` to
    `x5`, `y5`, the five landmarks in pixels, with `image_width` and `image_height`; other columns do not count. Text is
    UTF-8, paths may hold any bytes. Raises InputError for a file that cannot be read or is no text, also while images
    are taken, and for rows of another length than the first.
    """
    with open_regular(path, limit=FILE_LIMIT, expected=EXPECTED) as file:
        start = file.peek(FIRST_BYTES)[:FIRST_BYTES]
        kind = kind_of_bytes(start)
        if kind is not None or b"\0" in start:
            _refuse(path, kind.sentence if kind else "no text; save it as UTF-8")
        if start.startswith(codecs.BOM_UTF8):
            file.read(len(codecs.BOM_UTF8))
        with io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="") as text:
            lines = _lines(text, path)
            first = next(lines, "")
            header = [name.strip().lower() for name in next(csv.reader([first]), [])]
            if _PATH in header:
                places = _places_of(header, path)
                yield ImageList(
                    images=_rows(lines, places, len(header), path),
                    has_people=places.person is not None,
                    has_landmarks=bool(places.landmarks),
                )
            else:
                yield ImageList(images=_paths(first, lines), has_people=False, has_landmarks=False)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """Of the columns."""

    path: int
    person: int | None
    landmarks: tuple[int, ...]


def _places_of(header: Sequence[str], path: Path) -> _Places:
    names = (_PATH, _PERSON, *POINTS, *SIZE_COLUMNS)
    twice = [name for name in names if header.count(name) > 1]
    if twice:
        _refuse(path, f"the column {twice[0]} twice")
    found = {name: header.index(name) for name in names if name in header}
    points = [name for name in POINTS if name in found]
    if points and len(points) < len(POINTS):
        missing = next(name for name in POINTS if name not in found)
        _refuse(path, f"landmarks without the column {missing}")
    sizes = SIZE_COLUMNS if points and all(name in found for name in SIZE_COLUMNS) else ()
    return _Places(
        path=found[_PATH], person=found.get(_PERSON), landmarks=tuple(found[name] for name in (*points, *sizes))
    )


def _rows(lines: Iterator[str], places: _Places, count: int, path: Path) -> Iterator[ListedImage]:
    rows = csv.reader(lines)
    try:
        for row in rows:
            if not any(row):
                continue
            if len(row) != count or not row[places.path]:
                _refuse(
                    path, f"{len(row)} columns and the path {row[places.path : places.path + 1]}", rows.line_num + 1
                )
            yield ListedImage(
                path=row[places.path],
                person="" if places.person is None else row[places.person],
                landmarks=tuple(row[place].strip() for place in places.landmarks),
            )
    except csv.Error as error:
        _refuse(path, str(error), rows.line_num + 1)


def _paths(first: str, lines: Iterator[str]) -> Iterator[ListedImage]:
    for line in itertools.chain([first], lines):
        if line.strip():
            yield ListedImage(path=line.rstrip("\r\n"))


def _lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    number = 0
    while line := text.readline(_LONGEST_LINE):
        number += 1
        if len(line) == _LONGEST_LINE:
            _refuse(path, f"a line of {_LONGEST_LINE:,} characters or more", number)
        yield line


def _refuse(path: Path, found: str, line: int | None = None) -> NoReturn:
    where = "" if line is None else f", line {line}"
    message = f"expected {EXPECTED} at {path}{where}, found {found}"
    raise InputError(message)
