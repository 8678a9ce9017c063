"""Five landmarks by image, from a CSV file."""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.faces.landmark_columns import COLUMNS, POINTS, SIZE_COLUMNS, STANDARD, Columns, columns_of
from efq.runtime.reading import read_text

_DELIMITERS = (",", ";", "\t")
_LINE_END = re.compile(r"\r\n|\r|\n")


class Landmarks(NamedTuple):
    """Points (5, 2) in pixels, and the width and height of the picture that they are of, where the file says."""

    points: NDArray[np.float64]
    image_size: tuple[int, int] | None


def read_landmarks(path: Path) -> dict[Path, Landmarks]:
    """Landmarks by the absolute path of their image.

    A row is path,x1,y1,...,x5,y5 in the order of the ArcFace template (`align`), or what a first row of column names
    says (`columns_of`), with image_width,image_height where wanted. Columns are separated by commas, semicolons, tabs
    or spaces. Relative paths start at the current folder, as on the command line.

    Raises InputError for a file that cannot be read, for rows that are not of this form, that name an image twice, or
    whose numbers are not finite.
    """
    lines = _LINE_END.split(read_text(path, expected="a CSV file of landmarks"))
    columns: Columns | None = None
    landmarks: dict[Path, Landmarks] = {}
    numbers: dict[Path, int] = {}
    for number, row in _rows(lines, path):
        place = f"{path}, row {number}"
        if columns is None:
            if _is_count(row):
                continue
            columns = STANDARD
            if not any(_is_number(value) for value in row):
                columns = _columns(row, place)
                continue
        image, found = _landmarks(row, columns, place)
        if image in landmarks:
            message = (
                f"expected one row of landmarks an image in {path}, found a second one of {row[columns.path]} in row "
                f"{number}, the first in row {numbers[image]}; leave one face an image"
            )
            raise InputError(message)
        landmarks[image], numbers[image] = found, number
    return landmarks


def _rows(lines: Sequence[str], path: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, by number, their fields without spaces around them."""
    longest = max(itertools.islice(filter(None, map(str.strip, lines)), 10), key=len, default="")
    counts = {delimiter: longest.count(delimiter) for delimiter in _DELIMITERS}
    delimiter = max(counts, key=lambda name: counts[name])
    if counts[delimiter] < 9 <= len(longest.split()):
        split = ((number, line.split()) for number, line in enumerate(lines, start=1))
    else:
        if counts[";"] >= 10:
            delimiter = ";"  # commas may be those of decimals
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
        split = ((reader.line_num, row) for row in reader)
    try:
        return [(number, [field.strip() for field in row]) for number, row in split if any(map(str.strip, row))]
    except csv.Error as error:
        message = f"expected a CSV file of landmarks at {path}, found: {error}"
        raise InputError(message) from error


def _columns(header: list[str], place: str) -> Columns:
    """The columns of a header, which lists of CelebA write without one for the path."""
    return columns_of([COLUMNS[0], *header] if len(header) == len(POINTS) else header, place)


def _landmarks(row: Sequence[str], columns: Columns, place: str) -> tuple[Path, Landmarks]:
    try:
        if len(row) != columns.count:
            raise ValueError(len(row))
        points = np.array([_number(row[index]) for index in columns.points]).reshape(5, 2)
        size = [_number(row[index]) for index in columns.size or ()]
        image = Path(row[columns.path]).resolve()
    except (OSError, ValueError) as error:
        message = f"expected {columns.count} columns, {','.join(COLUMNS)}, in {place}, found {','.join(row)[:500]}"
        raise InputError(message) from error
    if not (np.isfinite(points).all() and np.isfinite(size).all() and row[columns.path]):
        message = f"expected a path and finite numbers in {place}, found {','.join(row)[:500]}"
        raise InputError(message)
    if size and not all(side >= 1 and side == int(side) for side in size):
        message = f"expected {','.join(SIZE_COLUMNS)} in whole pixels in {place}, found {','.join(row)[:500]}"
        raise InputError(message)
    return image, Landmarks(points, (int(size[0]), int(size[1])) if size else None)


def _number(text: str) -> float:
    """A number, with a decimal point or, where columns are separated otherwise, a decimal comma."""
    return float(text.replace(",", "."))


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _is_count(row: Sequence[str]) -> bool:
    """Whether a row is the number of images, with which lists of CelebA begin."""
    return len(row) == 1 and row[0].isdecimal()
