"""Huffman tables of JPEG (ITU T.81, annex C and F.2) as look-ups by the next 16 bits, which may be several codes."""

from __future__ import annotations

import array
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.formats.problem import damaged

STEP_BITS = 64
"""An entry of steps is bits taken + STEP_BITS * coefficients passed."""

END = 1 << 20
"""Added to an entry that ends its block."""

_INVALID = 127 * STEP_BITS  # more coefficients than a block has
_MOST_SYMBOLS = 4  # of a step
_TABLES = 16  # that are kept, of 256 and 512 KiB; most pictures have the four of T.81, annex K
_WINDOWS = np.arange(1 << 16, dtype=np.int32)


def check_codes(specification: bytes) -> None:
    """Raise DamagedImageError for 16 counts and symbols (T.81, annex C) of more codes than 16 bits have."""
    if sum(count << (16 - length) for length, count in enumerate(specification[:16], 1)) > len(_WINDOWS):
        damaged("JPEG", "a Huffman table with more codes than there are")


@functools.lru_cache(maxsize=_TABLES)
def symbol_table(specification: bytes, largest: int = 15) -> Sequence[int]:
    """For each window the length of the code it begins with, + 32 * the symbol; -1 for no code.

    Of a symbol the lower four bits are the size in bits of the value behind the code. `largest` below 15: the symbol
    is that size, as in tables of means, and is at most so large.
    """
    lengths, symbols = _codes(specification)
    fits = (lengths > 0) & ((symbols <= largest) | (largest == 15))
    return _table(np.where(fits, lengths + 32 * symbols, -1))


@functools.lru_cache(maxsize=_TABLES)
def step_tables(specification: bytes) -> tuple[Sequence[int], Sequence[int]]:
    """For each window an entry (`STEP_BITS`, `END`) for all symbols with their values that begin in it whole, and one.

    No code: an entry that passes more coefficients than a block has.
    """
    lengths, symbols = _codes(specification)
    run, size = symbols >> 4, symbols & 15
    ends = (size == 0) & (run < 15)
    single = np.where(ends, lengths + END, lengths + size + STEP_BITS * (run + 1))
    single = np.where((lengths == 0) | (ends & (run > 0)), _INVALID, single)
    entries = single
    for _ in range(_MOST_SYMBOLS - 1):
        taken = entries % STEP_BITS
        rest = (_WINDOWS << np.minimum(taken, 15)) & (len(_WINDOWS) - 1)
        following = single[rest]
        after = entries + following
        fits = (entries < END) & (following != _INVALID) & (taken + lengths[rest] <= 16)
        fits &= (after % END // STEP_BITS) < 64
        entries = np.where(fits, after, entries)
    return _table(entries), _table(single)


def _table(entries: NDArray[np.int32]) -> Sequence[int]:
    """Plain numbers are looked up faster than those of numpy, and an array is made faster than a list."""
    return array.array("i", entries.astype(np.int32).tobytes())


def _codes(specification: bytes) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """For each window the length of the code it begins with, 0 for none, and its symbol."""
    check_codes(specification)
    lengths, symbols = np.zeros_like(_WINDOWS), np.zeros_like(_WINDOWS)
    start, place = 0, 16
    for length in range(1, 17):
        width = 1 << (16 - length)
        for _ in range(specification[length - 1]):
            lengths[start : start + width] = length
            symbols[start : start + width] = specification[place]
            start, place = start + width, place + 1
    return lengths, symbols
