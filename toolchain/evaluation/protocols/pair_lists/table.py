"""A text file as rows of fields: its encoding and what separates fields are found out."""

from __future__ import annotations

import codecs
import csv
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from efq.runtime.errors import InputError
from efq.runtime.file_kinds import kind_of_bytes
from efq.runtime.reading import read_bytes

MOST_LINES = 2_000_000
_LONGEST_LINE = 10_000
_LIMIT = 256 * 2**20  # bytes
_MARKED = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_SEPARATORS = {"\t": "tabs", ";": "semicolons", ",": "commas", " ": "spaces"}  # in the order they are looked for
_BINARY = re.compile(r"[\0-\x08\x0e-\x19\x1b-\x1f]")


class Row(NamedTuple):
    """A line by its number from 1, as it stands, and its fields, one or more, of which the last is not empty."""

    number: int
    text: str
    fields: list[str]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """The lines with something on them. encoding, separator: in words; empty for UTF-8, and where there are no rows."""

    path: Path
    rows: Sequence[Row]
    encoding: str
    separator: str

    def refuse(self, row: Row, expected: str) -> NoReturn:
        """Raises InputError that names the line."""
        message = f"expected {expected} in {self.path}, line {row.number}, found {row.text[:200]!r}"
        raise InputError(message)


def read_table(path: Path) -> Table:
    """The rows of a text file in UTF-8, in UTF-16 with a byte order mark, or else in Windows-1252.

    What separates fields is the first of tab, semicolon, comma and space that is in half of the lines or more; with
    commas and semicolons a field may stand in double quotes. Raises InputError for a file that is no text, or too long.
    """
    text, encoding = _decoded(read_bytes(path, limit=_LIMIT, expected="a text file of image pairs"), path)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MOST_LINES:
        message = f"expected at most {MOST_LINES:,} lines of image pairs in {path}, found {text.count(chr(10)):,}"
        raise InputError(message)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    long = next((number for number, line in lines if len(line) > _LONGEST_LINE), None)
    if long is not None:
        message = f"expected lines of at most {_LONGEST_LINE:,} characters in {path}, found a longer one, line {long}"
        raise InputError(message)
    separator = _separator([line for _, line in lines])
    rows = [Row(number, line, _fields(line, separator)) for number, line in lines]
    rows = [row for row in rows if row.fields]  # spreadsheets end in lines of separators alone
    return Table(path=path, rows=rows, encoding=encoding, separator=_SEPARATORS.get(separator, ""))


def _decoded(content: bytes, path: Path) -> tuple[str, str]:
    """The text, and the name of its encoding where that is not UTF-8."""
    for mark, codec, name in _MARKED:
        if content.startswith(mark):
            return _text(content.removeprefix(mark), codec, path), "" if name == "UTF-8" else name
    try:
        return _checked(content.decode("utf-8"), content, path), ""
    except UnicodeDecodeError:
        return _text(content, "cp1252", path), "Windows-1252, as it is no UTF-8"


def _text(content: bytes, codec: str, path: Path) -> str:
    try:
        return _checked(content.decode(codec), content, path)
    except UnicodeDecodeError as error:
        _refuse_binary(content, path, f"bytes that are no text ({error.reason}, byte {error.start}); save it as UTF-8")


def _checked(text: str, content: bytes, path: Path) -> str:
    if _BINARY.search(text):
        _refuse_binary(content, path, "binary data")
    return text


def _refuse_binary(content: bytes, path: Path, found: str) -> NoReturn:
    kind = kind_of_bytes(content)
    message = f"expected a text file of image pairs at {path}, found {kind.sentence if kind else found}"
    raise InputError(message)


def _separator(lines: Sequence[str]) -> str:
    for separator in _SEPARATORS:
        if 2 * sum(separator in line.strip() for line in lines) >= max(len(lines), 1):
            return separator
    return ""


def _fields(line: str, separator: str) -> list[str]:
    if separator == " ":
        return line.split()
    if separator == "\t":
        fields = line.split("\t")
    elif separator:
        fields = _quoted(line, separator)
    else:
        fields = [line]
    while fields and not fields[-1].strip():
        fields.pop()
    return fields


def _quoted(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator, skipinitialspace=True))
    except csv.Error:
        return line.split(separator)
