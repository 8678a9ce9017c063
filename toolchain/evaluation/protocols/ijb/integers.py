"""Tables of whole numbers in text: the 16 million template pairs of IJB-C in seconds, without an object for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.reading import open_regular

LIMIT = 2**29
"""Bytes of a table: the pairs of IJB-C have 220 MB."""

_CHUNK = 2**22
_LONGEST_LINE = 4096
_MOST_DIGITS = 9  # so that they are int32
_BOM = b"\xef\xbb\xbf"
_BLANK = np.isin(np.arange(256), np.frombuffer(b" \t\r\n", np.uint8))


def read_integers(path: Path, columns: int, expected: str) -> NDArray[np.int32]:
    """(R, columns): the numbers of each line that is not empty, separated by spaces or tabs.

    `expected` says what the file is and what a line holds. Raises InputError, with the line, for anything else.
    """
    parts = [np.empty((0, columns), np.int32)]
    line = 1
    for text in _chunks(path, expected):
        parts.append(_rows(text, columns, path, expected, line))
        line += text.count(b"\n")
    return np.concatenate(parts)


def _chunks(path: Path, expected: str) -> Iterator[bytes]:
    """The file in parts that end with a line."""
    with open_regular(path, limit=LIMIT, expected=expected) as file:
        rest = file.read(_CHUNK).removeprefix(_BOM)
        while rest:
            more = file.read(_CHUNK)
            end = rest.rfind(b"\n") + 1 if more else len(rest)
            if len(rest) - end > _LONGEST_LINE:
                message = f"expected {expected} in {path}, found a line of more than {_LONGEST_LINE} characters"
                raise InputError(message)
            if end:
                yield rest[:end]
            rest = rest[end:] + more


def _rows(text: bytes, columns: int, path: Path, expected: str, first_line: int) -> NDArray[np.int32]:
    content = np.frombuffer(text, np.uint8)
    digit = (content >= ord("0")) & (content <= ord("9"))
    strange = np.flatnonzero(~digit & ~_BLANK[content])
    edges = np.flatnonzero(np.diff(digit, prepend=False, append=False))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    lines = np.searchsorted(np.flatnonzero(content == ord("\n")), starts)
    counts = np.bincount(lines)
    wrong = [
        *np.searchsorted(np.flatnonzero(content == ord("\n")), strange[:1]),
        *lines[lengths > _MOST_DIGITS][:1],
        *np.flatnonzero((counts != 0) & (counts != columns))[:1],
    ]
    if wrong:
        place = int(min(wrong))
        found = text.split(b"\n", place + 1)[place][:100].decode("utf-8", "replace")
        message = f"expected {expected} in {path}, line {first_line + place}, found {found!r}"
        raise InputError(message)
    values = np.zeros(len(starts), np.int32)
    for digits in range(int(lengths.max(initial=0))):
        longer = lengths > digits
        values[longer] = values[longer] * 10 + (content[starts[longer] + digits] - ord("0"))
    return values.reshape(-1, columns)
