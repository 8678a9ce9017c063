"""Which cohort each image is of: a table of identities or paths."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.reading import decode_text, read_bytes
from efq.toolchain.data.faces import FaceSet

MOST_COHORTS = 100

_LIMIT = 2**27  # bytes: a million rows have some 50 MB
_LONGEST_NAME = 100
_EXPECTED = "a table of cohorts"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class CohortLabels:
    """The cohort of each of N images.

    file, sha256: of the table. names: (C,) sorted. places: (N,) int64, in `names`; -1 where an image is of none.
    """

    file: str
    sha256: str
    names: tuple[str, ...]
    places: NDArray[np.int64]


def read_cohorts(path: Path, faces: FaceSet, compared: NDArray[np.int64]) -> CohortLabels:
    """Read `path`: rows of an identity or an image's path, and a cohort, separated by tabs, commas or semicolons.

    Identities and paths are named as `faces` names them; a path goes before its identity. `compared` (N,): places in
    `faces` of the images that are wanted. A first row that names nothing may be a header; other rows that name nothing
    in `faces` are warned about. Raises InputError for other tables, rows that name one thing twice with different
    cohorts, more than `MOST_COHORTS` of them, a table in which most rows name nothing in `faces` and that most images
    are not in, and one that gives fewer than two cohorts.
    """
    content = read_bytes(path, limit=_LIMIT, expected=_EXPECTED)
    table = _read_rows(decode_text(content, path, expected=_EXPECTED), path)
    found = [_cohort_of(table, faces, place) for place in compared]
    _check_known(table, faces, found.count(None), len(found), path)
    names = sorted({name for name in found if name is not None})
    if not 2 <= len(names) <= MOST_COHORTS:
        message = f"expected 2 to {MOST_COHORTS} cohorts of the compared images in {path}, found {len(names)}"
        raise InputError(message)
    places = np.array([-1 if name is None else names.index(name) for name in found], np.int64)
    return CohortLabels(
        file=path.name if path.name.isprintable() else "cohorts",
        sha256=hashlib.sha256(content).hexdigest(),
        names=tuple(names),
        places=places,
    )


def _read_rows(text: str, path: Path) -> dict[str, str]:
    table: dict[str, str] = {}
    for number, row in _rows(text, path):
        key, name = row[0].strip().replace("\\", "/"), row[1].strip()
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            message = f"expected a cohort of 1 to {_LONGEST_NAME} printable characters in {path}:{number}, found "
            raise InputError(message + repr(name[:200]))
        if table.setdefault(key, name) != name:
            message = f"expected {key!r} once in {path}, found it with {table[key]!r} and, in line {number}, {name!r}"
            raise InputError(message)
    return table


def _rows(text: str, path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((mark for mark in "\t;," if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != 2:
                message = f"expected an identity or a path and its cohort in {path}:{reader.line_num}, found "
                raise InputError(message + f"{len(row)} columns")
            yield reader.line_num, row
    except csv.Error as error:
        message = f"expected {_EXPECTED} at {path}, found: {error}"
        raise InputError(message) from error


def _check_known(table: dict[str, str], faces: FaceSet, without: int, images: int, path: Path) -> None:
    """Raise InputError for a table of other names; `without` of so many `images` are of no cohort."""
    known = {*faces.identities, *faces.paths}
    unknown = [key for key in table if key not in known]
    if not table or (2 * len(unknown) > len(table) and 2 * without > images):
        found = f"{len(unknown)} of {len(table)} rows that are neither, {unknown[0]!r} for one" if table else "no rows"
        message = (
            f"expected identities (such as {faces.identities[0]!r}) or paths (such as {faces.paths[0]!r}) of "
            f"{faces.source} in {path}, found {found}"
        )
        raise InputError(message)
    unknown = [key for place, key in enumerate(table) if place > 0 and key not in known]  # the first may be a header
    if unknown:
        _logger.warning(
            "%d rows of %s name nothing in %s, %r for one; %d of %d images are of no cohort",
            len(unknown),
            path,
            faces.source,
            unknown[0],
            without,
            images,
        )


def _cohort_of(table: dict[str, str], faces: FaceSet, place: int) -> str | None:
    return table.get(faces.paths[place], table.get(faces.identities[faces.labels[place]]))
