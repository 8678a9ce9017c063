"""TIFF (revision 6.0), the first picture: strips or tiles, of which each is unpacked to see that it is whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping

from efq.runtime.faces.formats.exif import read_directory
from efq.runtime.faces.formats.lzw import lzw_length
from efq.runtime.faces.formats.problem import damaged, early, unusual

_KIND = "TIFF"
_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR = 254, 256, 257, 258, 259, 262, 277, 284
_STRIPS, _ROWS, _STRIP_BYTES = 273, 278, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_FORMAT = 339
_TAGS = {
    *(_SUBFILE, _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _FORMAT),
    *(_STRIPS, _ROWS, _STRIP_BYTES, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES),
}
_PIECE = 1 << 20
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4}  # photometric interpretation: samples without an alpha channel

_Directory = Mapping[int, tuple[int, ...]]


def size(data: bytes) -> tuple[int, int]:
    """Width and height."""
    directory = _directory(data)
    return directory[_WIDTH][0], directory[_HEIGHT][0]


def exif(data: bytes) -> bytes:
    """The record that holds the orientation: the file itself."""
    return data


def check(data: bytes) -> None:
    """Check that all strips or tiles are there, as many bytes as their pixels take. Raises DamagedImageError."""
    directory = _directory(data)
    if directory.get(_SUBFILE, (0,))[0] & 1:
        unusual("a TIFF file that begins with a smaller copy of its picture, as raw photos of cameras do")
    samples, bits = _layout(directory)
    compression = directory.get(_COMPRESSION, (1,))[0]
    unpacked = _UNPACKED.get(compression)
    if unpacked is None:
        unusual(f"a TIFF image with compression {compression}")
    planes = samples if directory.get(_PLANAR, (1,))[0] == 2 else 1
    width, height = size(data)
    tiled = _TILES in directory
    places, lengths = (directory.get(tag, ()) for tag in ((_TILES, _TILE_BYTES) if tiled else (_STRIPS, _STRIP_BYTES)))
    across, rows = width, directory.get(_ROWS, (height,))[0]
    if tiled:
        across, rows = directory.get(_TILE_WIDTH, (0,))[0], directory.get(_TILE_HEIGHT, (0,))[0]
    if not (across and rows):
        damaged(_KIND, "strips or tiles without a size")
    down = -(-height // rows)
    count = down * (-(-width // across) if tiled else 1) * planes
    if not len(places) == len(lengths) == count:
        damaged(_KIND, f"{len(places)} strips or tiles of {count}")
    if sum(lengths) > len(data):
        damaged(_KIND, "strips or tiles that overlap or end beyond the file")
    for index, (place, length) in enumerate(zip(places, lengths, strict=True)):
        if place + length > len(data):
            early(_KIND)
        lines = rows if tiled or index % down < down - 1 else height - (down - 1) * rows
        wanted = lines * -(-across * bits * samples // planes // 8)
        if unpacked(data[place : place + length], wanted) < wanted:
            damaged(_KIND, f"a strip or tile of fewer than {wanted:,} bytes at {place}")


def _directory(data: bytes) -> _Directory:
    try:
        directory = read_directory(data, _TAGS)
    except ValueError:
        early(_KIND)
    if not (directory.get(_WIDTH) and directory.get(_HEIGHT) and directory[_WIDTH][0] and directory[_HEIGHT][0]):
        damaged(_KIND, "no width or height")
    if any(not values for values in directory.values()):
        damaged(_KIND, "a field without values")
    return directory


def _layout(directory: _Directory) -> tuple[int, int]:
    """Samples of a pixel, and bits of each."""
    samples = directory.get(_SAMPLES, (1,))[0]
    bits = directory.get(_BITS, (1,))
    photometric = directory.get(_PHOTOMETRIC, (-1,))[0]
    if photometric not in _COLORS or set(directory.get(_FORMAT, (1,))) != {1} or max(bits) > 16 or len(set(bits)) > 1:
        unusual(f"a TIFF image of color space {photometric} with samples of {bits[0]} bits")
    if samples != _COLORS[photometric]:
        unusual(f"a TIFF image of {samples} channels, as with transparency")
    return samples, bits[0]


def _plain_length(content: bytes, wanted: int) -> int:
    return len(content)


def _deflated_length(content: bytes, wanted: int) -> int:
    stream = zlib.decompressobj()
    length = 0
    try:
        while length < wanted or not stream.eof:
            piece = stream.decompress(stream.unconsumed_tail if length else content, _PIECE)
            length += len(piece)
            if not piece or length > wanted:
                break
    except zlib.error as error:
        damaged(_KIND, str(error))
    return length


def _packed_length(content: bytes, wanted: int) -> int:
    """PackBits (TIFF 6.0, section 9)."""
    place = length = 0
    while place < len(content) and length < wanted:
        head = content[place]
        if head < 128:
            length += min(head + 1, len(content) - place - 1)
            place += head + 2
        else:
            length += 257 - head if head > 128 else 0
            place += 2 if head > 128 else 1
    return length


_UNPACKED: Mapping[int, Callable[[bytes, int], int]] = {
    1: _plain_length,
    5: lzw_length,
    8: _deflated_length,
    32946: _deflated_length,
    32773: _packed_length,
}
