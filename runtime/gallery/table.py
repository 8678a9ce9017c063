"""A gallery as a table of text, as databases write it: CSV or TSV with a row of names.

Columns: `person` (or people, name, identity, subject, label), optionally `face` (or path, file, crop, image) and
`sha256`, and the embedding: numbers in columns e0, e1, ..., or all of them in one column `embedding` (or vector), as a
JSON list [0.1, ...] (pgvector's own form) or as PostgreSQL writes arrays, {0.1, ...}. Blanks around names do not count.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import IO, NoReturn

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.manifest import LARGEST_EMBEDDING
from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import LONGEST_NAME, MOST_FACES, SHORTEST, Gallery, row_lengths
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.reading import FILE_LIMIT, open_regular, parse_json

EXPECTED = "a gallery as CSV or TSV (person, face, e0, e1, ... or embedding)"

_PERSON = frozenset({"person", "people", "name", "identity", "subject", "label"})
_FACE = frozenset({"face", "path", "file", "crop", "image"})
_HASH = frozenset({"sha256", "hash"})
_LIST = frozenset({"embedding", "vector"})
_NUMBERED = re.compile(r"((?:e|embedding|v|dim|d|f)_?)([0-9]{1,5})")
_OF_NUMBERS = frozenset("0123456789+-.eE \t")  # float() takes 1_0, nan and digits of every script, too
_LONGEST_LINE = 1 << 22
_ROWS = 4096  # turned into an array at once


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class _Columns:
    """Places of the columns; `numbers` are those of e0, e1, ..., one place alone for a list."""

    count: int
    person: int
    face: int | None
    sha256: int | None
    numbers: tuple[int, ...]
    is_list: bool


def read_gallery_table(path: Path, model: EmbeddingModel | None, *, model_name: str = "unknown") -> Gallery:
    """Read and check a table, whose embeddings are divided by their lengths; faces without a name are numbered.

    `model`: whose embeddings they are, as a table does not say it; None for one that is not known, of `model_name`.

    Raises InputError for a file that is none, or rows that do not fit, by their line.
    """
    people: list[str] = []
    faces: list[str] = []
    hashes: list[str] = []
    parts: list[NDArray[np.float32]] = []
    waiting: list[NDArray[np.float64]] = []
    with (
        open_regular(path, limit=FILE_LIMIT, expected=EXPECTED) as file,
        contextlib.closing(_rows(file, path)) as rows,
    ):
        _, header = next(rows, (1, []))
        columns = _columns_of(header, path)
        for line, row in rows:
            if len(row) != columns.count:
                _refuse(path, f"{columns.count} columns in line {line}", f"{len(row)}")
            if len(people) >= MOST_FACES:
                _refuse(path, f"at most {MOST_FACES:,} faces", "more")
            values = _numbers(row, columns, path, line)
            if (waiting and len(values) != len(waiting[0])) or (parts and len(values) != parts[0].shape[1]):
                _refuse(path, "as many values in every row", f"{len(values)} in line {line}")
            people.append(_name(row[columns.person], path, line))
            faces.append(str(len(faces)) if columns.face is None else _name(row[columns.face], path, line))
            hashes.append("" if columns.sha256 is None else row[columns.sha256])
            waiting.append(values)
            if len(waiting) == _ROWS:
                parts.append(_unit(waiting, path, len(people)))
                waiting = []
    if waiting:
        parts.append(_unit(waiting, path, len(people)))
    if not parts:
        _refuse(path, "rows of faces", "none")
    embeddings = np.concatenate(parts)
    chosen = model or EmbeddingModel(sha256=None, name=model_name, embedding_size=embeddings.shape[1])
    try:
        return Gallery.of(embeddings, people, faces, GalleryRecord(model=chosen), hashes=hashes)
    except InputError as error:
        message = f"{error} ({path})"
        raise InputError(message) from error


def _unit(rows: list[NDArray[np.float64]], path: Path, end: int) -> NDArray[np.float32]:
    values = np.stack(rows)
    lengths = row_lengths(values)
    bad = ~(np.isfinite(lengths) & (lengths > SHORTEST))
    if bad.any():
        row = end - len(rows) + int(np.argmax(bad)) + 1
        _refuse(path, "finite embeddings that are no zeros", f"none in row {row}")
    return np.asarray(values / lengths[:, None], np.float32)


def _rows(file: IO[bytes], path: Path) -> Generator[tuple[int, list[str]], None, None]:
    """The rows with the lines they end on. Raises InputError for what is no text or no table."""
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        first = _line(text)
        while first and not first.strip():
            first = _line(text)
        delimiter = max("\t,;", key=first.count)
        reader = csv.reader(_with_first(first, text), delimiter=delimiter, strict=True)
        for row in reader:
            if row:
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        message = f"expected {EXPECTED} at {path}, found bytes that are no UTF-8"
        raise InputError(message) from error
    except csv.Error as error:
        message = f"expected {EXPECTED} at {path}, found: {error}"
        raise InputError(message) from error
    finally:
        text.detach()


def _with_first(first: str, text: io.TextIOWrapper) -> Iterator[str]:
    line = first
    while line:
        if "\0" in line:
            message = "binary data"
            raise csv.Error(message)
        yield line
        line = _line(text)


def _line(text: io.TextIOWrapper) -> str:
    line = text.readline(_LONGEST_LINE)
    if len(line) >= _LONGEST_LINE:
        message = f"a line of more than {_LONGEST_LINE:,} characters"
        raise csv.Error(message)
    return line


def _columns_of(header: Sequence[str], path: Path) -> _Columns:
    names = [name.strip().lower() for name in header]
    if len(set(names)) < len(names):
        _refuse(path, "each name of a column once", "one twice")
    matches = {place: match for place, name in enumerate(names) if (match := _NUMBERED.fullmatch(name))}
    numbered = {int(match[2]): place for place, match in matches.items()}
    lists = [place for place, name in enumerate(names) if name in _LIST]
    person, face, sha256 = (
        [place for place, name in enumerate(names) if name in known] for known in (_PERSON, _FACE, _HASH)
    )
    alike = len({match[1] for match in matches.values()}) <= 1 and len(numbered) == len(matches)  # one embedding
    whole = alike and set(numbered) == set(range(len(numbered))) and len(numbered) <= LARGEST_EMBEDDING
    if len(person) != 1 or len(face) > 1 or len(sha256) > 1 or len(lists) + bool(numbered) != 1 or not whole:
        shown = ", ".join(names[:8])[:200]
        _refuse(path, "a first row of names: person, face, and e0, e1, ... or embedding", shown or "none")
    return _Columns(
        count=len(names),
        person=person[0],
        face=face[0] if face else None,
        sha256=sha256[0] if sha256 else None,
        numbers=tuple(numbered[place] for place in range(len(numbered))) or (lists[0],),
        is_list=bool(lists),
    )


def _numbers(row: Sequence[str], columns: _Columns, path: Path, line: int) -> NDArray[np.float64]:
    texts: Sequence[object] = [row[place] for place in columns.numbers]
    if columns.is_list:
        text = row[columns.numbers[0]].strip()
        if text[:1] == "{" and text[-1:] == "}":
            text = f"[{text[1:-1]}]"
        found = parse_json(text, f"numbers as embedding in line {line} of {path}")
        if not isinstance(found, list) or not found or any(type(value) not in (int, float) for value in found):
            _refuse(path, f"a list of numbers as embedding in line {line}", text[:80])
        texts = found
    elif not _OF_NUMBERS.issuperset("".join(row[place] for place in columns.numbers)):
        wrong = next(row[place] for place in columns.numbers if not _OF_NUMBERS.issuperset(row[place]))
        _refuse(path, f"numbers with a decimal point in line {line}", repr(wrong[:40]))
    try:
        values = np.array([float(text) for text in texts], np.float64)  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        _refuse(path, f"numbers in line {line}", "what is none")
    if not np.isfinite(values).all():
        _refuse(path, f"finite numbers in line {line}", "others")
    if len(values) > LARGEST_EMBEDDING:
        _refuse(path, f"at most {LARGEST_EMBEDDING:,} numbers in line {line}", f"{len(values):,}")
    return values


def _name(text: str, path: Path, line: int) -> str:
    text = text.strip()  # columns of a fixed width end in blanks
    if not text or len(text) > LONGEST_NAME:
        _refuse(path, f"a name of 1 to {LONGEST_NAME} characters in line {line}", f"{len(text):,}")
    return text


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    message = f"expected {expected} of the gallery {path}, found {found}"
    raise InputError(message)
