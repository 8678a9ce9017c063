"""BMP: a header, and rows of pixels, which are not compressed as a rule."""

from __future__ import annotations

import struct

from efq.runtime.faces.formats.problem import damaged, early, unusual

_KIND = "BMP"
_PLAIN = (0, 3)  # compression: none, none with masks


def size(data: bytes) -> tuple[int, int]:
    """Width and height."""
    return _header(data)[:2]


def check(data: bytes) -> None:
    """Check that all rows are there. Raises DamagedImageError."""
    width, height, bits, compression = _header(data)
    if compression not in _PLAIN:
        unusual("a compressed BMP image")
    (start,) = struct.unpack_from("<I", data, 10)
    if start + -(-width * bits // 32) * 4 * height > len(data):
        early(_KIND)


def _header(data: bytes) -> tuple[int, int, int, int]:
    if len(data) < 54:
        early(_KIND)
    (length,) = struct.unpack_from("<I", data, 14)
    compression = 0
    if length == 12:
        width, height, planes, bits = struct.unpack_from("<HHHH", data, 18)
    else:
        width, height, planes, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    width, height = width, abs(height)  # rows from the top have a negative height
    if not 12 <= length <= 124 or width <= 0 or height == 0 or planes != 1 or bits not in (1, 4, 8, 16, 24, 32):
        damaged(_KIND, f"{width}x{height} pixels of {bits} bits")
    return width, height, bits, compression
