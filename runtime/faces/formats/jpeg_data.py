"""Whether the data of a JPEG's scans is whole: every block is walked over, as a decoder would, without computing it.

Decoders fill what is missing with gray and pass over what is too much, with a warning on the process's stderr at most.
Where bytes were lost, changed or put in, the codes end before the picture does, or after, or none begins so, or blocks
become brighter or darker than a picture can be, or a run of zeros is coefficients that are all the same. What is not
found are changes that leave the codes in step.
"""

from __future__ import annotations

import array
import functools
from collections.abc import Callable, Sequence

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

_Walk = Callable[[bytes, range], int]


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
        means: list[int] = []
        walk = _walk_of(scan, frame, progress, means)
        for index, segment in enumerate(scan.segments):
            units = range(index * scan.units_each, min((index + 1) * scan.units_each, scan.units))
            used = walk(segment, units)
            spare = len(segment) * 8 - used
            if spare < 0:
                damaged("JPEG", "its data ends before the picture does")
            if spare >= 8:
                damaged("JPEG", f"{spare // 8} bytes of data are left when the picture is full")
        if means:
            _check_means(means, scan)
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


def _walk_of(scan: Scan, frame: Frame, progress: _Progress, means: list[int]) -> _Walk:
    """What walks over a segment of a scan: the bits that its groups of blocks take. `means` as of `walk_sequential`."""
    if not frame.progressive:
        return functools.partial(_walk_blocks, _block_tables(scan), means)
    if scan.first == 0 and scan.high:
        blocks = sum(_blocks(component, scan) for component in scan.components)
        return lambda segment, units: len(units) * blocks
    if scan.first == 0:
        tables = _mean_tables(scan)
        return lambda segment, units: walk_means(_words(segment), len(segment) * 8, len(units), tables, means)
    known = progress.coefficients.setdefault(scan.components[0].identifier, [0] * scan.units)
    symbols, band = symbol_table(_defined(scan.ac[0])), (scan.first, scan.last)
    walk = walk_refinement if scan.high else walk_band
    return lambda segment, units: walk(_words(segment), len(segment) * 8, symbols, band, known, units)


def _walk_blocks(tables: Sequence[BlockTables], means: list[int], segment: bytes, units: range) -> int:
    if _HOLE in segment and any(table.symbols[0] < END for table in tables):
        damaged("JPEG", "a hole of zeros in its data")
    return walk_sequential(_words(segment), len(segment) * 8, len(units), tables, means)


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


def _check_means(means: Sequence[int], scan: Scan) -> None:
    """Every block's mean is one of samples of 0 to 255, up to rounding.

    It is told by its difference to the block before (T.81, F.1.1.5.1), so that one damaged block shifts all after it
    up to the end of the segment.
    """
    each = min(scan.units_each, scan.units)
    raw = np.array(means, np.int64).reshape(scan.units, -1)
    raw = np.pad(raw, ((0, -scan.units % each), (0, 0)))  # by differences of zero
    size = raw & 15
    value = (raw >> 4) & ((1 << size) - 1)
    differences = np.where(value >> np.maximum(size - 1, 0) == 0, value - (1 << size) + 1, value)
    start = 0
    for component, step in zip(scan.components, scan.steps, strict=True):
        count = _blocks(component, scan)
        of_segments = differences[:, start : start + count].reshape(-1, each * count)
        levels = 128 + (of_segments.cumsum(axis=1) << scan.low) * step / 8
        slack = 1 + (step << scan.low) / 8
        if levels.min() < -slack or levels.max() > 255 + slack:
            damaged("JPEG", "blocks are brighter or darker than pixels can be")
        start += count
