"""WebP (RFC 9649): chunks in a RIFF file."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from efq.runtime.faces.formats.problem import damaged, early

_KIND = "WebP"


def size(data: bytes) -> tuple[int, int]:
    """Width and height, of the canvas where there are several frames."""
    name, content = next(_chunks(data), (b"", b""))
    if name == b"VP8X" and len(content) >= 10:
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if name == b"VP8L" and len(content) >= 5 and content[0] == 0x2F:
        bits = int.from_bytes(content[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if name != b"VP8 " or len(content) < 10 or content[3:6] != b"\x9d\x01\x2a":
        damaged(_KIND, "no header")
    width, height = struct.unpack_from("<HH", content, 6)
    return width & 0x3FFF, height & 0x3FFF


def exif(data: bytes) -> bytes:
    """The EXIF record, empty where there is none."""
    record = next((content for name, content in _chunks(data) if name == b"EXIF"), b"")
    return record.removeprefix(b"Exif\0\0")


def check(data: bytes) -> None:
    """Check that every chunk is there whole; inside, WebP has no checksums. Raises DamagedImageError."""
    names = {name for name, _ in _chunks(data)}
    if not names & {b"VP8 ", b"VP8L", b"ANMF"}:
        damaged(_KIND, "no picture")


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (length,) = struct.unpack_from("<I", data, 4)
    end, place = 8 + length, 12
    if end > len(data):
        early(_KIND)
    while place + 8 <= end:
        name, (length,) = data[place : place + 4], struct.unpack_from("<I", data, place + 4)
        if place + 8 + length > end:
            damaged(_KIND, f"a chunk of {length:,} bytes at {place}, of {end - place - 8:,} there")
        yield name, data[place + 8 : place + 8 + length]
        place += 8 + length + (length & 1)
