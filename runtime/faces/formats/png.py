"""PNG (ISO/IEC 15948): chunks with checksums, and one zlib stream of rows, which has one, too."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from efq.runtime.faces.formats.problem import damaged, early

_KIND = "PNG"
_SIGNATURE = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
# Adam7: the first column and row of each pass, and the steps between them.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_PIECE = 1 << 20


def size(data: bytes) -> tuple[int, int]:
    """Width and height."""
    return _header(data)[:2]


def exif(data: bytes) -> bytes:
    """The EXIF record, empty where there is none."""
    return next((content for name, content in _chunks(data) if name == b"eXIf"), b"")


def check(data: bytes) -> None:
    """Check every chunk that matters by its checksum, and that the rows are all there. Raises DamagedImageError."""
    width, height, depth, color, interlaced = _header(data)
    bits = depth * _CHANNELS[color]
    shapes = [(width, height)]
    if interlaced:
        shapes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in _PASSES]
    wanted = sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in shapes if columns > 0 and rows > 0)
    stream = zlib.decompressobj()
    found = 0
    try:
        for name, content in _chunks(data):
            rest = content if name == b"IDAT" else b""
            while rest and not stream.eof and found <= wanted:
                found += len(stream.decompress(rest, _PIECE))
                rest = stream.unconsumed_tail
        while not stream.eof and found <= wanted:
            piece = stream.decompress(stream.unconsumed_tail, _PIECE)
            found += len(piece)
            if not piece:
                break
    except zlib.error as error:
        damaged(_KIND, str(error))
    if found < wanted or not (stream.eof or found > wanted):
        damaged(_KIND, f"{found:,} bytes of rows, of {wanted:,}")


def _header(data: bytes) -> tuple[int, int, int, int, int]:
    name, content = next(_chunks(data), (b"", b""))
    if name != b"IHDR" or len(content) != 13:
        damaged(_KIND, "no header")
    width, height, depth, color, _, _, interlaced = struct.unpack(">IIBBBBB", content)
    if not (width and height) or color not in _CHANNELS or depth not in (1, 2, 4, 8, 16) or interlaced > 1:
        damaged(_KIND, f"{width}x{height} pixels of {depth} bits and color type {color}")
    return width, height, depth, color, interlaced


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each chunk to the end of the image; checksums of what may be left out are not looked at."""
    place = _SIGNATURE
    while True:
        if place + 12 > len(data):
            early(_KIND)
        (length,) = struct.unpack_from(">I", data, place)
        name, end = data[place + 4 : place + 8], place + 8 + length
        if end + 4 > len(data):
            early(_KIND)
        necessary = not name[0] & 32  # its first letter is a capital
        if necessary and zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            damaged(_KIND, f"the checksum of {name.decode('latin-1')!r} at {place}")
        yield name, data[place + 8 : end]
        if name == b"IEND":
            return
        place = end + 4
