"""Where the records of a RecordIO file lie: from the .idx file beside it, or found by reading through it."""

from __future__ import annotations

import array
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.reading import open_regular
from efq.toolchain.data.sources.container import Container
from efq.toolchain.data.sources.recordio.records import walk_records

_LARGEST = 1 << 32  # bytes of an .idx or .lst file; of 42 million images they have 0.8 and 2.5e9
_LONGEST_LINE = 8192
_MOST = (1 << 63) - 1


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Index:
    """`numbers` (N,) int64 of the records, ascending, and where in the file they begin: `offsets` (N,) int64."""

    numbers: NDArray[np.int64]
    offsets: NDArray[np.int64]

    def offset(self, number: int) -> int | None:
        """Where the record of this number begins; None where there is none."""
        if not 0 <= number <= _MOST:
            return None
        place = int(np.searchsorted(self.numbers, number))
        found = place < len(self.numbers) and self.numbers[place] == number
        return int(self.offsets[place]) if found else None

    def in_file_order(self) -> Iterator[tuple[int, int]]:
        """Number and offset of each record, in the order in which they lie in the file."""
        order = np.argsort(self.offsets, kind="stable")
        for start in range(0, len(order), 65536):
            part = order[start : start + 65536]
            yield from zip(self.numbers[part].tolist(), self.offsets[part].tolist(), strict=True)


def read_index(path: Path) -> Index:
    """The index in an .idx file: the number of a record, a tab and its offset a line, in any order.

    Raises InputError for another file, and for one that names a number twice.
    """
    numbers, offsets = array.array("q"), array.array("q")
    for place, line in read_lines(path, "the index of a RecordIO file"):
        try:
            number, offset = map(_whole, line.split())
        except ValueError:
            raise _no_index(path, f"line {place}: {line[:50]!r}") from None
        numbers.append(number)
        offsets.append(offset)
    if not numbers:
        raise _no_index(path, "none")
    found = _sorted(numbers, offsets)
    repeated = np.flatnonzero(found.numbers[1:] == found.numbers[:-1])
    if len(repeated):
        raise _no_index(path, f"record {found.numbers[repeated[0]]} twice")
    return found


def find_records(container: Container) -> Index:
    """The index of a file that has none: of each record the number that its header says.

    Where two say the same, as some writers leave it 0, records are numbered as they lie in the file, from 0 on. Raises
    InputError as `read_record` does.
    """
    numbers, offsets = array.array("q"), array.array("q")
    with container.open() as file:
        for offset, record in walk_records(file, container):
            numbers.append(record.id if record.id <= _MOST else -1)
            offsets.append(offset)
    found = _sorted(numbers, offsets)
    if len(numbers) and (found.numbers[0] < 0 or (found.numbers[1:] == found.numbers[:-1]).any()):
        return Index(numbers=np.arange(len(offsets)), offsets=np.array(offsets, np.int64))
    return found


def read_lines(path: Path, expected: str) -> Iterator[tuple[int, str]]:
    """Number, from 1, and text of the lines of a long text file that have something on them, read one by one.

    Raises InputError when it cannot be read, for lines of more than 8,192 bytes and for text that is not UTF-8.
    """
    with open_regular(path, limit=_LARGEST, expected=expected) as file:
        place = 0
        while line := file.readline(_LONGEST_LINE):
            place += 1
            try:
                text = line.decode()
            except UnicodeDecodeError:
                text = "\0"
            if "\0" in text or len(line) == _LONGEST_LINE:
                message = f"expected {expected} at {path}, found no line of text in line {place}"
                raise InputError(message)
            if text := text.strip("\r\n"):
                yield place, text


def _whole(text: str) -> int:
    """Raises ValueError for what is no number from 0 to 2^63 - 1."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if not 0 <= number <= _MOST:
        raise ValueError
    return number


def _sorted(numbers: array.array[int], offsets: array.array[int]) -> Index:
    unsorted, places = np.array(numbers, np.int64), np.array(offsets, np.int64)
    order = np.argsort(unsorted, kind="stable")
    return Index(numbers=unsorted[order], offsets=places[order])


def _no_index(path: Path, found: str) -> InputError:
    return InputError(
        f"expected a record's number, a tab and its place in each line of {path}, found {found}; without the .idx "
        "file records are found by reading through the .rec file"
    )
