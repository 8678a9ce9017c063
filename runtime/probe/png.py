"""The probe's image as a PNG (ISO/IEC 15948) that any viewer shows and that is read without an image library.

It is opened with every artifact: 8 bits, RGB, one IDAT chunk, no filter, so that reading it takes zlib alone.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.runtime.errors import SchemaError

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KIND = bytes((8, 2, 0, 0, 0))  # bits, RGB, deflate, filters by row, not interlaced
_HEADER = struct.Struct(">8sI4sII5sI")
_CHUNK = struct.Struct(">I4s")
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """The file of an image uint8 (H, W, 3), RGB."""
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = image.reshape(height, -1)
    header = b"IHDR" + struct.pack(">II", width, height) + _KIND
    pixels = b"IDAT" + zlib.compress(rows.tobytes(), 9)
    chunks = (
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, pixels)
    )
    return _SIGNATURE + b"".join(chunks) + _END


def decode_png(data: bytes, *, name: str) -> NDArray[np.uint8]:
    """The image uint8 (H, W, 3), RGB, of a file that `encode_png` wrote. Raises SchemaError for any other; no more
    memory is taken than such an image has."""
    problem = f"expected the PNG that efq-export writes as {name}, found another file; export the model again"
    start = _HEADER.size + _CHUNK.size
    if len(data) < start:
        raise SchemaError(problem)
    signature, _, header, width, height, kind, _ = _HEADER.unpack_from(data)
    length, chunk = _CHUNK.unpack_from(data, _HEADER.size)
    sides_fit = 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE
    if (signature, header, kind, chunk) != (_SIGNATURE, b"IHDR", _KIND, b"IDAT") or not sides_fit:
        raise SchemaError(problem)
    size = height * (1 + 3 * width)
    try:
        found = zlib.decompressobj().decompress(data[start : start + length], size + 1)
    except zlib.error as error:
        raise SchemaError(problem) from error
    if len(found) != size:
        raise SchemaError(problem)
    rows = np.frombuffer(found, np.uint8).reshape(height, 1 + 3 * width)
    if rows[:, 0].any():
        raise SchemaError(problem)
    return rows[:, 1:].reshape(height, width, 3)
