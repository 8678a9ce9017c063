"""Ways over the Huffman codes of a JPEG's scan (ITU T.81, annexes F.2 and G.2), without computing what they say.

`source/scan_walks.cpp` goes the same ways, with the same verdicts, where it was built (`compiled_walks.py`).

`words` has for each byte of the data the 32 bits from there on, and more behind the end; `limit` is the number of bits.
Each walk returns the bits that were taken, more than `limit` when the data ended before.
"""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.formats.huffman import END, STEP_BITS, step_tables, symbol_table
from efq.runtime.faces.formats.jpeg import Scan
from efq.runtime.faces.formats.scan_ways import (
    LARGEST_MEAN,
    Way,
    blocks_of,
    check_spare,
    codes_of,
    hole,
    no_code,
    run_too_long,
)

_BITS = STEP_BITS - 1
_WITHOUT_END = END - 1
_LIST_LIMIT = 1 << 20  # bytes of a scan: beyond, a list of numbers takes too much memory
_HOLE = bytes(16)  # no picture has so many zeros, unless they are the codes of blocks that have a mean only


class BlockTables(NamedTuple):
    """Of one block: the look-ups for its mean, and for its other coefficients, by several symbols and by one."""

    mean: Sequence[int]
    steps: Sequence[int]
    symbols: Sequence[int]


def walk_scan(scan: Scan, way: Way, known: array.array[int]) -> NDArray[np.int64]:
    """Walk over a scan's blocks, which have to fill each segment to its last byte.

    known: of a band's component, of each block a bit for each coefficient that is not zero. Returns what the scan says
    of means (see `walk_sequential`), none for bands. Raises DamagedImageError.
    """
    mean_codes, codes = codes_of(scan, way)
    blocks, band = blocks_of(scan), (scan.first, scan.last)
    means: list[int] = []
    mean_tables = [symbol_table(code, LARGEST_MEAN) for code in mean_codes]
    by_block = [component for component, count in enumerate(blocks) for _ in range(count)]
    if way is Way.BLOCKS:
        steps = [step_tables(code) for code in codes]
        tables = [BlockTables(mean_tables[component], *steps[component]) for component in by_block]
    for index, segment in enumerate(scan.segments):
        units = range(index * scan.units_each, min((index + 1) * scan.units_each, scan.units))
        words, limit = _words(segment), len(segment) * 8
        if way is Way.BLOCKS:
            if _HOLE in segment and any(table.symbols[0] < END for table in tables):
                hole()
            used = walk_sequential(words, limit, len(units), tables, means)
        elif way is Way.MEANS:
            used = walk_means(words, limit, len(units), [mean_tables[component] for component in by_block], means)
        else:
            walk = walk_band if way is Way.BAND else walk_refinement
            used = walk(words, limit, symbol_table(codes[0]), band, known, units)
        check_spare(limit - used)
    return np.array(means, np.int64)


def _words(segment: bytes) -> Sequence[int]:
    """For each byte the 32 bits from there on, and for some bytes behind the end."""
    octets = np.frombuffer(segment + bytes(8), np.uint8).astype(np.uint32)
    count = len(segment) + 4
    words = octets[:count] << 24 | octets[1 : count + 1] << 16 | octets[2 : count + 2] << 8 | octets[3 : count + 3]
    return array.array("I", words.tobytes()) if len(segment) > _LIST_LIMIT else words.tolist()


def walk_sequential(
    words: Sequence[int], limit: int, units: int, tables: Sequence[BlockTables], means: list[int]
) -> int:
    """Whole blocks, `tables` for those of one group.

    `means` gets for each block the difference of its mean: 16 times the value, with higher bits before it, + its size.
    """
    place = 0
    for _ in range(units):
        for mean, steps, symbols in tables:
            entry = mean[(words[place >> 3] >> (16 - (place & 7))) & 65535]
            if entry < 0:
                no_code()
            place += entry & 31
            size = entry >> 5
            means.append((words[place >> 3] >> (32 - (place & 7) - size)) << 4 | size)
            place += size
            start, count = place, 1
            while place <= limit:
                entry = steps[(words[place >> 3] >> (16 - (place & 7))) & 65535]
                place += entry & _BITS
                count += (entry & _WITHOUT_END) // STEP_BITS
                if count > 63 or entry >= END:
                    break
            if count > 63:
                place = _walk_block(words, limit, start, symbols)
            if place > limit:
                return place
    return place


def _walk_block(words: Sequence[int], limit: int, place: int, symbols: Sequence[int]) -> int:
    """A block to its last coefficient, behind which the next one begins, symbol by symbol."""
    count = 1
    while count < 64 and place <= limit:
        entry = symbols[(words[place >> 3] >> (16 - (place & 7))) & 65535]
        place += entry & _BITS
        count += (entry & _WITHOUT_END) // STEP_BITS
        if entry >= END:
            return place
    if count > 64:
        no_code()
    return place


def walk_means(words: Sequence[int], limit: int, units: int, tables: Sequence[Sequence[int]], means: list[int]) -> int:
    """The first scan of blocks' means; `means` as of `walk_sequential`."""
    place = 0
    for _ in range(units):
        for mean in tables:
            entry = mean[(words[place >> 3] >> (16 - (place & 7))) & 65535]
            if entry < 0:
                no_code()
            place += entry & 31
            size = entry >> 5
            means.append((words[place >> 3] >> (32 - (place & 7) - size)) << 4 | size)
            place += size
            if place > limit:
                return place
    return place


def walk_band(
    words: Sequence[int],
    limit: int,
    symbols: Sequence[int],
    band: tuple[int, int],
    known: array.array[int],
    units: range,
) -> int:
    """The first scan of a band of coefficients.

    `known`, of each block a bit for each coefficient, gets those that are not zero.
    """
    place, block = 0, units.start
    first, end = band[0], band[1] + 1
    while block < units.stop and place <= limit:
        count, found, run = first, 0, 1
        while count < end and place <= limit:
            entry = symbols[(words[place >> 3] >> (16 - (place & 7))) & 65535]
            if entry < 0:
                no_code()
            place += entry & 31
            size, zeros = entry >> 5 & 15, entry >> 9
            if not size and zeros < 15:
                run, place = _run_of_blocks(words, limit, place, zeros)
                break
            count += zeros
            if size:
                found |= 1 << count
                place += size
            count += 1
        if count > end:
            no_code()
        known[block] |= found
        block += run
    if block > units.stop:
        run_too_long()
    return place


def walk_refinement(
    words: Sequence[int],
    limit: int,
    symbols: Sequence[int],
    band: tuple[int, int],
    known: array.array[int],
    units: range,
) -> int:
    """A further bit of a band of coefficients (T.81, G.1.2.3): one of each in `known`, and those that are new."""
    place = run = 0
    first, end = band[0], band[1] + 1
    for block in units:
        history, count = known[block] & ((1 << end) - 1), first
        while run == 0 and count < end:
            if place > limit:
                return place
            entry = symbols[(words[place >> 3] >> (16 - (place & 7))) & 65535]
            if entry < 0:
                no_code()
            place += entry & 31
            size, zeros = entry >> 5 & 15, entry >> 9
            if not size and zeros < 15:
                run, place = _run_of_blocks(words, limit, place, zeros)
                break
            place += size
            while count < end:
                if history >> count & 1:
                    place += 1
                elif zeros == 0:
                    break
                else:
                    zeros -= 1
                count += 1
            if size:
                if size > 1 or count == end:
                    no_code()
                known[block] |= 1 << count
            count += 1
        if run:
            place += (history >> count).bit_count()
            run -= 1
        if place > limit:
            return place
    if run:
        run_too_long()
    return place


def _run_of_blocks(words: Sequence[int], limit: int, place: int, size: int) -> tuple[int, int]:
    """The number of blocks, from the present one on, that have nothing more, and where the run's own bits end."""
    if place > limit:
        return 1, place
    window = (words[place >> 3] >> (16 - (place & 7))) & 65535
    return (1 << size) + (window >> (16 - size)), place + size
