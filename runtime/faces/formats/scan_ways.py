"""The four kinds of JPEG scans that have Huffman codes (ITU T.81, F and G): how they are read, what may be wrong."""

from __future__ import annotations

import array
import enum
from collections.abc import Callable, Iterable
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.formats.huffman import check_codes
from efq.runtime.faces.formats.jpeg import Scan
from efq.runtime.faces.formats.problem import damaged

LARGEST_MEAN = 11
"""Bits of the difference of two means, for samples of 8 bits."""


class Way(enum.IntEnum):
    """What a scan has: whole blocks; of progressive pictures their means, a band of coefficients, a bit more of it."""

    BLOCKS = 0
    MEANS = 1
    BAND = 2
    REFINEMENT = 3


WalkScan = Callable[[Scan, Way, "array.array[int]"], NDArray[np.integer]]
"""What goes over a scan's blocks: `jpeg_walks.walk_scan`."""


def way_of(scan: Scan, *, progressive: bool) -> Way | None:
    """None for a further bit of the means, which is one of each block without a code."""
    if not progressive:
        return Way.BLOCKS
    if scan.first == 0:
        return None if scan.high else Way.MEANS
    return Way.REFINEMENT if scan.high else Way.BAND


def blocks_of(scan: Scan) -> tuple[int, ...]:
    """The number of blocks that each component has in a group."""
    if len(scan.components) == 1:
        return (1,)
    return tuple(component.horizontal * component.vertical for component in scan.components)


def codes_of(scan: Scan, way: Way) -> tuple[list[bytes], list[bytes]]:
    """For each component the specification of the means' table and of the others', as far as the scan is read by them.

    Raises DamagedImageError for one that is missing or has more codes than there are.
    """
    others = _defined(scan.ac) if way is not Way.MEANS else []
    means = _defined(scan.dc) if way in (Way.BLOCKS, Way.MEANS) else []
    return means, others


def check_spare(bits: int) -> None:
    """Raise DamagedImageError unless what is left of a segment is less than a byte."""
    if bits < 0:
        damaged("JPEG", "its data ends before the picture does")
    if bits >= 8:
        damaged("JPEG", f"{bits // 8} bytes of data are left when the picture is full")


def no_code() -> NoReturn:
    """Raise that no block can be read on."""
    damaged("JPEG", "no code where one should begin, or a block of too many coefficients")


def run_too_long() -> NoReturn:
    """Raise that a run of empty blocks ends behind the picture."""
    damaged("JPEG", "a run of blocks beyond the picture")


def hole() -> NoReturn:
    """Raise that zeros lie where codes should."""
    damaged("JPEG", "a hole of zeros in its data")


def _defined(specifications: Iterable[bytes | None]) -> list[bytes]:
    found = []
    for specification in specifications:
        if specification is None:
            damaged("JPEG", "a Huffman table is missing")
        check_codes(specification)
        found.append(specification)
    return found
