"""The text files of IJB-B and IJB-C: images of templates, landmarks, and the subjects of galleries and probes."""

from __future__ import annotations

import array
import csv
import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.reading import TEXT_LIMIT, open_regular

MOST_ROWS = 5_000_000
"""Of a list: IJB-C has 469,375 images."""

_LONGEST_LINE = 4096
_MOST_DIGITS = 9
_FARTHEST = 1e6  # of landmarks, so that squares of them are numbers
_COLUMNS = ("TEMPLATE_ID", "SUBJECT_ID")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class MediaList:
    """R images of templates. names: the image files; templates, medias: (R,) int64, the numbers in the file."""

    names: tuple[str, ...]
    templates: NDArray[np.int64]
    medias: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class LandmarkList:
    """N images. places: of each name; points: (N, 5, 2) float32, pixels of the image; scores: (N,) float32, 0 to 1."""

    places: dict[str, int]
    points: NDArray[np.float32]
    scores: NDArray[np.float32]


def read_media(path: Path) -> MediaList:
    """Read `image template media` a line, separated by spaces or tabs. Raises InputError, with the line."""
    expected = "lines `image template media`, the last two whole numbers"
    names: list[str] = []
    numbers = array.array("q")
    for number, line in _lines(path, expected):
        fields = line.split()
        if len(fields) != 3 or not (_is_whole(fields[1]) and _is_whole(fields[2])):
            raise _unexpected(path, number, expected, line)
        names.append(_image_name(path, number, fields[0]))
        numbers.extend((int(fields[1]), int(fields[2])))
    if not names:
        message = f"expected {expected} in {path}, found an empty file"
        raise InputError(message)
    table = np.array(numbers, np.int64).reshape(-1, 2)
    return MediaList(names=tuple(names), templates=table[:, 0], medias=table[:, 1])


def read_landmarks(path: Path) -> LandmarkList:
    """Read `image x1 y1 ... x5 y5 score` a line, in the order of the ArcFace template (`align`).

    Raises InputError, with the line, for anything else, for numbers that are not finite, a score that is not 0 to 1,
    and for an image with two sets of landmarks.
    """
    expected = "lines `image x1 y1 x2 y2 x3 y3 x4 y4 x5 y5 score`, the score from 0 to 1"
    places: dict[str, int] = {}
    numbers = array.array("f")
    for number, line in _lines(path, expected):
        fields = line.split()
        values = _numbers(fields[1:]) if len(fields) == 12 else None
        if values is None or not 0 <= values[-1] <= 1:
            raise _unexpected(path, number, expected, line)
        name = _image_name(path, number, fields[0])
        if name not in places:
            places[name] = len(places)
            numbers.extend(values)
        elif numbers[11 * places[name] : 11 * places[name] + 11] != array.array("f", values):
            message = f"expected the landmarks of each image once in {path}, found others of {name} in line {number}"
            raise InputError(message)
    table = np.array(numbers, np.float32).reshape(-1, 11)
    return LandmarkList(places=places, points=table[:, :10].reshape(-1, 5, 2), scores=table[:, 10])


def read_subjects(path: Path) -> dict[int, int]:
    """The subject of each template in a CSV file with the columns TEMPLATE_ID and SUBJECT_ID; a template may repeat.

    Raises InputError, with the line, for anything else, and for a template of two subjects.
    """
    expected = f"a CSV file with the columns {' and '.join(_COLUMNS)}"
    subjects: dict[int, int] = {}
    columns: list[int] | None = None
    for number, line in _lines(path, expected):
        row = _csv_row(path, number, expected, line)
        if columns is None:
            header = [field.upper() for field in row]
            if not all(header.count(name) == 1 for name in _COLUMNS):
                raise _unexpected(path, number, expected, line)
            columns = [header.index(name) for name in _COLUMNS]
            continue
        values = [row[place] for place in columns if place < len(row)]
        if len(values) != 2 or not all(map(_is_whole, values)):
            raise _unexpected(path, number, f"{expected}, whole numbers", line)
        template, subject = map(int, values)
        if subjects.setdefault(template, subject) != subject:
            message = (
                f"expected one subject a template in {path}, found {subjects[template]} and, in line {number}, "
                f"{subject} for template {template}"
            )
            raise InputError(message)
    if not subjects:
        message = f"expected {expected} in {path}, found no templates"
        raise InputError(message)
    return subjects


def _lines(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of each line with something on it; one line in memory at a time."""
    with open_regular(path, limit=TEXT_LIMIT, expected=expected) as file:
        for number in itertools.count(1):
            content = file.readline(_LONGEST_LINE + 1)
            if not content:
                return
            if len(content) > _LONGEST_LINE or number > MOST_ROWS:
                found = f"more than {MOST_ROWS:,} lines" if number > MOST_ROWS else f"{len(content)} bytes or more"
                message = f"expected {expected} in {path}, line {number}, found {found}"
                raise InputError(message)
            try:
                line = content.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise _unexpected(path, number, expected, repr(content[:100])) from error
            if line:
                yield number, line


def _csv_row(path: Path, number: int, expected: str, line: str) -> list[str]:
    try:
        return [field.strip() for field in next(csv.reader([line], skipinitialspace=True))]
    except csv.Error as error:
        raise _unexpected(path, number, expected, line) from error


def _image_name(path: Path, number: int, name: str) -> str:
    """A path below the folder of images."""
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name or "\\" in name:
        raise _unexpected(path, number, "an image below the folder of images", name)
    return name


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS


def _numbers(fields: list[str]) -> list[float] | None:
    try:
        values = [float(field) for field in fields]
    except ValueError:
        return None
    return values if all(abs(value) < _FARTHEST for value in values) else None  # nan is not


def _unexpected(path: Path, number: int, expected: str, found: str) -> InputError:
    return InputError(f"expected {expected} in {path}, line {number}, found {found[:200]!r}")
