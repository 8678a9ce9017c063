"""Records of a RecordIO file: dmlc's framing, and MXNet's header within.

A record is the magic number, a word whose upper 3 bits say which part it is and whose lower 29 bits its length, and the
part, filled up to 4 bytes (dmlc-core, `recordio.h`). Data that holds the magic number itself, at a place that 4
divides, is cut there into parts: 1 the first, 2 those between, 3 the last; 0 is a record of one part. What is within
begins with a flag (uint32), a label (float32) and an id of 2 x uint64; a flag above 0 is a count of labels, float32,
that follow instead of that one (`mxnet.recordio.pack`). All numbers are little-endian.
"""

from __future__ import annotations

import dataclasses
import math
import struct
from collections.abc import Iterator
from io import BufferedReader

from efq.runtime.errors import InputError
from efq.runtime.faces.formats.table import FORMATS
from efq.runtime.file_kinds import kind_of_bytes
from efq.toolchain.data.sources.container import Container

MAGIC = struct.pack("<I", 0xCED7230A)
LONGEST = 1 << 29
"""Bytes of a record, as dmlc's writer has it."""

MOST_LABELS = 1000

_FRAME = struct.Struct("<4sI")
_HEADER = struct.Struct("<IfQQ")
_LENGTH = (1 << 29) - 1
_START = 16  # bytes of an image that tell its format
_HEAD = _HEADER.size + 8 + _START
_EXACT = 1 << 24  # whole numbers below are float32 as they are


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """The beginning of a record.

    id: its number, as its writer says. labels: at most two, the first names the person. start: the first bytes of the
    image, none where there is none. problem: why it holds no face, in the plural; empty where it may. end: where the
    next record begins.
    """

    id: int
    labels: tuple[float, ...]
    start: bytes
    problem: str
    end: int

    @property
    def suffix(self) -> str:
        """Of a file with this image; empty where it is none that is read."""
        kind = kind_of_bytes(self.start) if self.start else None
        return f".{_SUFFIXES.get(kind.name, kind.name)}" if kind in FORMATS and kind else ""

    @property
    def person(self) -> int | None:
        """The label, where it is a whole number that float32 holds exactly."""
        label = self.labels[0] if self.labels else math.nan
        return int(label) if 0 <= label < _EXACT and label == int(label) else None


_SUFFIXES = {"jpeg": "jpg"}


def read_record(file: BufferedReader, offset: int, container: Container) -> Record:
    """The record at `offset`. Raises InputError where there is none, or one that does not end."""
    data, length, end = _content(file, offset, container, _HEAD)
    if len(data) < _HEADER.size:
        return Record(0, (), b"", "records without a header", end)
    flag, label, number, _ = _HEADER.unpack_from(data)
    begins = _HEADER.size + 4 * flag
    if flag > MOST_LABELS or begins > length:
        return Record(number, (), b"", "records with more labels than fit", end)
    if begins + _START > len(data) < length:
        data = _content(file, offset, container, begins + _START)[0]
    labels = struct.unpack_from(f"<{min(flag, 2)}f", data, _HEADER.size) if flag else (label,)
    return Record(number, labels, bytes(data[begins:]), "" if begins < length else "records without an image", end)


def read_image(file: BufferedReader, offset: int, container: Container) -> bytes:
    """The image of the record at `offset`, which `read_record` found to be one. Raises InputError as that does."""
    data = _content(file, offset, container, LONGEST)[0]
    del data[: _HEADER.size + 4 * int.from_bytes(data[:4], "little")]
    return bytes(data)


def walk_records(file: BufferedReader, container: Container) -> Iterator[tuple[int, Record]]:
    """All records with their offsets. Raises InputError as `read_record` does."""
    offset = 0
    while offset < container.size:
        record = read_record(file, offset, container)
        yield offset, record
        offset = record.end


def _content(file: BufferedReader, offset: int, container: Container, most: int) -> tuple[bytearray, int, int]:
    """At most `most` bytes of what the record at `offset` holds, how many there are, and where the next one begins."""
    data, length, place, first = bytearray(), 0, offset, True
    while True:
        file.seek(place)
        frame = file.read(_FRAME.size + min(most, _HEAD))
        if len(frame) < _FRAME.size or frame[:4] != MAGIC:
            raise _damaged(container, offset, "no record", place)
        part, size = divmod(_FRAME.unpack_from(frame)[1], _LENGTH + 1)
        place += _FRAME.size
        if part not in ((0, 1) if first else (2, 3)):
            raise _damaged(container, offset, "parts of several records", place)
        if not first:
            length += len(MAGIC)
            data += MAGIC[: max(most - len(data), 0)]
        length += size
        if place + size > container.size or length > LONGEST:
            raise _damaged(container, offset, f"one of {length:,} bytes or more", place)
        wanted = min(size, most - len(data))
        known = frame[_FRAME.size : _FRAME.size + wanted]
        data += known
        data += file.read(wanted - len(known)) if wanted > len(known) else b""
        place += size + -size % 4
        if part in (0, 3):
            return data, length, place
        first = False


def _damaged(container: Container, offset: int, found: str, place: int) -> InputError:
    return InputError(
        f"expected a whole record of RecordIO at byte {offset:,} of {container.path}, found {found} at byte {place:,} "
        f"of {container.size:,}; the file is cut or damaged, fetch it again"
    )
