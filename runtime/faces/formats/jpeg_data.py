"""Whether the data of a JPEG's scans is whole: every block is walked over, as a decoder would, without computing it.

Decoders fill what is missing with gray and pass over what is too much, with a warning on the process's stderr at most.
Where bytes were lost, changed or put in, the codes end before the picture does, or after, or none begins so, or blocks
become brighter or darker than a picture can be, or a run of zeros is coefficients that are all the same. What is not
found are changes that leave the codes in step.
"""

from __future__ import annotations

import array
from collections.abc import Sequence

import numpy as np

from efq.runtime.faces.formats.huffman import END, step_tables, symbol_table
from efq.runtime.faces.formats.jpeg import Component, Frame, Scan, frame_of, scans_of
from efq.runtime.faces.formats.jpeg_walks import (
    BlockTables,
    walk_band,
    walk_means,
    walk_refinement,
    walk_sequential,
)
from efq.runtime.faces.formats.problem import damaged

_LIST_LIMIT = 1 << 20  # bytes of a scan: beyond, a list of numbers takes too much memory
_LARGEST_MEAN = 11  # bits of the difference of two means, for samples of 8 bits
_HOLE = bytes(16)  # no picture has so many zeros, unless they are the codes of blocks that have a mean only


class _Progress:
    """What the scans of a picture have brought.

    bits: by component and coefficient, the lowest bit that has come. coefficients: by component, which of each block
    are not zero, a bit each.
    """

    def __init__(self) -> None:
        self.bits: dict[tuple[int, int], int] = {}
        self.coefficients: dict[int, list[int]] = {}


def check_data(data: bytes) -> None:
    """Walk over all blocks of the picture. Raises DamagedImageError where they do not fill it exactly."""
    frame = frame_of(data)
    progress = _Progress()
    for scan in scans_of(data, frame):
        _check_header(scan, frame, progress)
        for index, segment in enumerate(scan.segments):
            units = range(index * scan.units_each, min((index + 1) * scan.units_each, scan.units))
            used = _walk(segment, units, scan, frame, progress)
            spare = len(segment) * 8 - used
            if spare < 0:
                damaged("JPEG", "its data ends before the picture does")
            if spare >= 8:
                damaged("JPEG", f"{spare // 8} bytes of data are left when the picture is full")
    identifiers = (component.identifier for component in frame.components)
    if any(progress.bits.get((identifier, index)) != 0 for identifier in identifiers for index in range(64)):
        damaged("JPEG", "scans are missing")


def _check_header(scan: Scan, frame: Frame, progress: _Progress) -> None:
    """Spectral selection and successive approximation (T.81, G.1.1.1): each scan brings what is not there yet."""
    valid = scan.first <= scan.last <= 63 and scan.high in (0, scan.low + 1)
    if frame.progressive:
        valid = valid and (scan.last == 0 if scan.first == 0 else len(scan.components) == 1)
    else:
        valid = valid and (scan.first, scan.last, scan.low) == (0, 63, 0)
    for component in scan.components:
        for index in range(scan.first, scan.last + 1):
            valid = valid and progress.bits.get((component.identifier, index), 0) == scan.high
            valid = valid and ((component.identifier, index) in progress.bits) == bool(scan.high)
            progress.bits[component.identifier, index] = scan.low
    if not valid:
        damaged("JPEG", "a scan of what is there already or cannot be refined")


def _walk(segment: bytes, units: range, scan: Scan, frame: Frame, progress: _Progress) -> int:
    """The bits that these groups of blocks take."""
    limit, words = len(segment) * 8, _words(segment)
    means: list[int] = []
    if not frame.progressive:
        tables = _block_tables(scan)
        if _HOLE in segment and any(table.symbols[0] < END for table in tables):
            damaged("JPEG", "a hole of zeros in its data")
        used = walk_sequential(words, limit, len(units), tables, means)
    elif scan.first == 0 and scan.high:
        return len(units) * sum(_blocks(component, scan) for component in scan.components)
    elif scan.first == 0:
        used = walk_means(words, limit, len(units), _mean_tables(scan), means)
    else:
        known = progress.coefficients.setdefault(scan.components[0].identifier, [0] * scan.units)
        walk = walk_refinement if scan.high else walk_band
        return walk(words, limit, symbol_table(_defined(scan.ac[0])), (scan.first, scan.last), known, units)
    if used <= limit:
        _check_means(means, len(units), scan)
    return used


def _words(segment: bytes) -> Sequence[int]:
    """For each byte the 32 bits from there on, and for some bytes behind the end."""
    octets = np.frombuffer(segment + bytes(8), np.uint8).astype(np.uint32)
    count = len(segment) + 4
    words = octets[:count] << 24 | octets[1 : count + 1] << 16 | octets[2 : count + 2] << 8 | octets[3 : count + 3]
    return array.array("I", words.tobytes()) if len(segment) > _LIST_LIMIT else words.tolist()


def _blocks(component: Component, scan: Scan) -> int:
    return component.horizontal * component.vertical if len(scan.components) > 1 else 1


def _mean_tables(scan: Scan) -> list[Sequence[int]]:
    """The table of each block of a group."""
    return [
        symbol_table(_defined(specification), _LARGEST_MEAN)
        for component, specification in zip(scan.components, scan.dc, strict=True)
        for _ in range(_blocks(component, scan))
    ]


def _block_tables(scan: Scan) -> list[BlockTables]:
    others = [
        step_tables(_defined(specification))
        for component, specification in zip(scan.components, scan.ac, strict=True)
        for _ in range(_blocks(component, scan))
    ]
    return [BlockTables(mean, *tables) for mean, tables in zip(_mean_tables(scan), others, strict=True)]


def _defined(specification: bytes | None) -> bytes:
    if specification is None:
        damaged("JPEG", "a Huffman table is missing")
    return specification


def _check_means(means: Sequence[int], units: int, scan: Scan) -> None:
    """Every block's mean is one of samples of 0 to 255, up to rounding.

    It is told by its difference to the block before (T.81, F.1.1.5.1), so that one damaged block shifts all after it.
    """
    raw = np.array(means, np.int64).reshape(units, -1)
    size = raw & 15
    value = (raw >> 4) & ((1 << size) - 1)
    differences = np.where(value >> np.maximum(size - 1, 0) == 0, value - (1 << size) + 1, value)
    start = 0
    for component, step in zip(scan.components, scan.steps, strict=True):
        count = _blocks(component, scan)
        levels = 128 + (differences[:, start : start + count].cumsum() << scan.low) * step / 8
        slack = 1 + (step << scan.low) / 8
        if levels.min() < -slack or levels.max() > 255 + slack:
            damaged("JPEG", "blocks are brighter or darker than pixels can be")
        start += count
