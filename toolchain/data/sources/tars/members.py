"""What is in a tar: a walk over its headers, which reads no more of the file than these and a bounded part behind them.

Headers are those of POSIX.1-2001 (pax), of ustar, of GNU tar and of its ancestors. Of pax records the path and the
size count. Links, devices and sparse files are told apart from files whose bytes lie in the tar.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from io import BufferedReader
from typing import NoReturn

from efq.runtime.errors import InputError
from efq.runtime.faces.scan import LeftOut
from efq.toolchain.data.sources.container import Container

_BLOCK = 512
_MOST_RECORDS = 1 << 20  # bytes of pax records of one file
_LONGEST_NAME = 1 << 16
_TAIL = 1 << 16
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=]{1,256})=")
_PROBLEMS = {
    **dict.fromkeys((b"\0", b"0", b"7", b"5"), ""),
    **dict.fromkeys((b"1", b"2"), "links"),
    **dict.fromkeys((b"3", b"4", b"6"), "devices and named pipes"),
    b"S": "sparse files",
}
_WITHOUT_DATA = (b"1", b"2", b"3", b"4", b"5", b"6")


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """name: as it stands there; of a folder it ends with "/". start, size: where its bytes lie.

    problem: why it is neither a folder nor a file that can be read, in the plural; empty where it is one.
    """

    name: str
    start: int
    size: int
    problem: str


@dataclasses.dataclass(slots=True)
class _Said:
    """What the headers before a member's own say of it."""

    name: bytes | None = None
    size: int | None = None
    sparse: bool = False


def walk_members(file: BufferedReader, container: Container, left_out: LeftOut) -> Iterator[Member]:
    """All members up to the end of the archive, which is a block of zeros.

    An archive without an end, and what lies behind one, is counted in `left_out`. Raises InputError for a header that
    is none, or larger than the largest there are, and for a member that does not end within the file.
    """
    place, said = 0, _Said()
    while place < container.size:
        file.seek(place)
        block = file.read(_BLOCK)
        if not block.strip(b"\0"):
            if file.read(_TAIL).strip(b"\0"):
                left_out.add("parts behind the end of the archive", container.path.name)
            return
        header = _Header(block, place, container)
        start, size = place + _BLOCK, header.size
        if header.kind in (b"x", b"X", b"L"):
            header.take(file, said)
        elif header.kind not in (b"K", b"g"):
            start = header.after_map(file)
            size = size if said.size is None or header.kind in _WITHOUT_DATA else said.size
            header.check_end(start + size)
            yield header.member(start, size, said)
            said = _Said()
        header.check_end(start + size)
        place = start + size + -size % _BLOCK
    left_out.add("archives without an end, as those that were cut", container.path.name)


class _Header:
    """One header at `place`."""

    def __init__(self, block: bytes, place: int, container: Container) -> None:
        self._block, self._place, self._container = block, place, container
        if len(block) < _BLOCK or _octal(block[148:156]) not in _checksums(block):
            self._refuse("no header of a member")
        self.kind = block[156:157]
        size = _number(block[124:136])
        if size is None:
            self._refuse("a header without a size")
        self.size = 0 if self.kind in _WITHOUT_DATA else size

    def check_end(self, end: int) -> None:
        """Raise InputError where a member goes on beyond the end of the file."""
        if end > self._container.size:
            self._refuse(f"a member that goes on to byte {end:,}")

    def take(self, file: BufferedReader, said: _Said) -> None:
        """Read a long name or pax records, which are of the next member."""
        most = _LONGEST_NAME if self.kind == b"L" else _MOST_RECORDS
        if self.size > most:
            self._refuse(f"a name or records of {self.size:,} bytes, more than {most:,}")
        data = file.read(self.size)
        if self.kind == b"L":
            said.name = data.partition(b"\0")[0]
            return
        for key, value in self._records(data.rstrip(b"\0")):
            if key == b"path":
                said.name = value
            elif key == b"size":
                if not value.isdigit() or len(value) > 18:
                    self._refuse("pax records of a wrong size")
                said.size = int(value)
            elif key.startswith(b"GNU.sparse."):
                said.sparse = True

    def after_map(self, file: BufferedReader) -> int:
        """Where the data begins: behind the blocks in which GNU tar goes on with a map of a sparse file."""
        start = self._place + _BLOCK
        more = self.kind == b"S" and self._block[482]
        while more:
            block = file.read(_BLOCK)
            start += _BLOCK
            self.check_end(start)
            more = block[504]
        return start

    def member(self, start: int, size: int, said: _Said) -> Member:
        """The member that this header is of."""
        prefix = _text(self._block[345:500]) if self._block[257:263] == b"ustar\0" else b""
        name = _text(self._block[:100])
        name = said.name if said.name is not None else b"/".join((prefix, name)) if prefix else name
        problem = _PROBLEMS.get(self.kind, "members of other types") if not said.sparse else _PROBLEMS[b"S"]
        try:
            text = name.decode()
        except UnicodeDecodeError:
            return Member(ascii(name)[2:-1], start, size, problem or "files whose names are no UTF-8")
        return Member(text if self.kind != b"5" else f"{text}/", start, size, problem)

    def _records(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        place = 0
        while place < len(data):
            found = _RECORD.match(data, place)
            end = place + int(found[1]) if found else 0
            if not found or end <= found.end() or data[end - 1 : end] != b"\n":
                self._refuse("pax records that are none")
            yield found[2], data[found.end() : end - 1]
            place = end

    def _refuse(self, found: str) -> NoReturn:
        message = (
            f"expected a whole tar in {self._container.path}, found {found} at byte {self._place:,} of "
            f"{self._container.size:,}; the file is cut or damaged, fetch it again"
        )
        raise InputError(message)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _octal(field: bytes) -> int | None:
    found = _OCTAL.fullmatch(field)
    return int(found[1] or b"0", 8) if found else None


def _number(field: bytes) -> int | None:
    """A number in octal digits, or as GNU tar writes one that is too large for them."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
        return number if number < 1 << 62 else None
    return _octal(field)


def _checksums(header: bytes) -> tuple[int, int]:
    """The sum of the bytes, those of the sum itself taken as spaces, without and with signs, as old writers took it."""
    rest = header[:148] + b" " * 8 + header[156:]
    total = sum(rest)
    return total, total - 256 * sum(byte > 127 for byte in rest) if not rest.isascii() else total
