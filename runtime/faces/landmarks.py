"""Five landmarks by image, from a CSV file."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

COLUMNS = ("path", *(f"{axis}{point}" for point in range(1, 6) for axis in "xy"))


def read_landmarks(path: Path) -> dict[Path, NDArray[np.float64]]:
    """Landmarks (5, 2), in pixels, by the absolute path of their image.

    A row is path,x1,y1,...,x5,y5 in the order of the ArcFace template; relative paths start at the current folder,
    as on the command line; a first row of column names is allowed.
    Raises InputError for a file that cannot be read, and for rows that are not of this form or name an image twice.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(enumerate(csv.reader(file), start=1))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        message = f"expected a CSV file of landmarks at {path}, found: {error}"
        raise InputError(message) from error
    landmarks: dict[Path, NDArray[np.float64]] = {}
    for number, row in rows:
        if not row or (number == 1 and row[0] == COLUMNS[0]):
            continue
        image = Path(row[0]).resolve()
        if image in landmarks:
            message = (
                f"expected one row of landmarks an image in {path}, found a second one of {row[0]} in row {number}"
            )
            raise InputError(message)
        landmarks[image] = _points(row, f"{path}, row {number}")
    return landmarks


def _points(row: list[str], place: str) -> NDArray[np.float64]:
    try:
        points = np.array([float(value) for value in row[1:]]).reshape(5, 2)
    except ValueError as error:
        message = f"expected {','.join(COLUMNS)} in {place}, found {','.join(row)}"
        raise InputError(message) from error
    return points
