"""LZW as TIFF has it (revision 6.0, section 13): codes of 9 to 12 bits for strings that grow until a clear code."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.formats.problem import damaged

_CLEAR, _END, _FIRST = 256, 257, 258
_WIDTHS = ((9, 254), (10, 512), (11, 1024), (12, 2048 + 1024))  # codes of each number of bits; libtiff has as many
_SHORT, _MOST_SHORT = 1024, 16  # tables are cleared when they are full, or once in a while where that saves bytes


def lzw_length(content: bytes, wanted: int) -> int:
    """The number of bytes that `content` unpacks to, not counted far beyond `wanted`. Raises DamagedImageError."""
    place = total = short = 0
    ended = False
    while total < wanted and not ended and short < _MOST_SHORT:
        codes, place, ended = _codes_to_clear(content, place)
        short += len(codes) < _SHORT
        made = codes < _FIRST + np.arange(len(codes))
        known = len(codes) if made.all() else int(made.argmin())
        total += int(_lengths(codes[:known]).sum())
        if known < len(codes) and total < wanted:
            damaged("TIFF", "a code of LZW that was not made")
    return total


def _lengths(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the string of each code: a byte, or the string that code 258 + k was made of, which is number k, and a byte.

    The strings on the way to a byte are counted by doubling steps.
    """
    count = len(codes)
    steps = np.append((codes >= _FIRST).astype(np.int64), 0)
    before = np.append(np.where(codes >= _FIRST, codes - _FIRST, count), count)
    while (before < count).any():
        steps, before = steps + steps[before], before[before]
    return 1 + steps[:count]


def _codes_to_clear(content: bytes, place: int) -> tuple[NDArray[np.int64], int, bool]:
    """The codes from bit `place` to a clear code, the bit behind that, and whether there are no more.

    Where a table is full there has to be a clear code: without one there are no more.
    """
    parts: list[NDArray[np.int64]] = []
    for width, count in _WIDTHS:
        codes = _codes(content, place, width, count)
        stops = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        stop = int(stops[0]) if len(stops) else len(codes)
        parts.append(codes[:stop])
        place += width * len(codes[: stop + 1])
        if len(stops):
            return np.concatenate(parts), place, bool(codes[stop] == _END)
        if len(codes) < count:
            break
    return np.concatenate(parts), place, True


def _codes(content: bytes, place: int, width: int, count: int) -> NDArray[np.int64]:
    """At most `count` codes of `width` bits from bit `place` on."""
    end = place + width * count
    octets = np.frombuffer(content[place // 8 : -(-end // 8)], np.uint8)
    bits = np.unpackbits(octets)[place % 8 : place % 8 + end - place]
    whole = len(bits) // width
    return np.asarray(bits[: whole * width].reshape(whole, width) @ (1 << np.arange(width - 1, -1, -1)), np.int64)
