"""LZW as TIFF has it (revision 6.0, section 13): codes of 9 to 12 bits for strings that grow until a clear code."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from efq.runtime.faces.formats.problem import damaged

_CLEAR, _END, _FIRST, _LARGEST = 256, 257, 258, 4096
_WIDTHS = ((9, 254), (10, 512), (11, 1024))  # codes of each number of bits after a clear code; then those of 12 bits
_PIECE = 2048


def lzw_length(content: bytes, wanted: int) -> int:
    """The number of bytes that `content` unpacks to, not counted far beyond `wanted`. Raises DamagedImageError."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    place = total = 0
    while total < wanted:
        lengths = [1] * _FIRST
        before = 0  # bytes of the string before, 0 after a clear code
        for code in _codes(bits, place):
            place += 9 + (len(lengths) >= 511) + (len(lengths) >= 1023) + (len(lengths) >= 2047)
            if code in (_CLEAR, _END) or total >= wanted:
                break
            if before and len(lengths) < _LARGEST:
                lengths.append(before + 1)
            if code >= len(lengths):
                damaged("TIFF", "a code of LZW that was not made")
            before = lengths[code]
            total += before
        else:
            return total
        if code == _END:
            return total
    return total


def _codes(bits: np.ndarray, place: int) -> Iterator[int]:
    for width, count in itertools.chain(_WIDTHS, itertools.repeat((12, _PIECE))):
        found = bits[place : place + width * count]
        whole = len(found) // width
        weights = 1 << np.arange(width - 1, -1, -1)
        yield from (found[: whole * width].reshape(whole, width) @ weights).tolist()
        if whole < count:
            return
        place += width * count
