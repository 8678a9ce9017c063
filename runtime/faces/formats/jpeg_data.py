"""Whether the data of a JPEG's scans is whole: every block is walked over, as a decoder would, without computing it.

Decoders fill what is missing with gray and pass over what is too much, with a warning on the process's stderr at most.
Where bytes were lost, changed or put in, the codes end before the picture does, or after, or none begins so, or blocks
become brighter or darker than a picture can be, or a run of zeros is coefficients that are all the same. What is not
found are changes that leave the codes in step.
"""

from __future__ import annotations

import array
import collections

import numpy as np
from numpy.typing import NDArray

from efq.runtime.faces.formats import compiled_walks, jpeg_walks
from efq.runtime.faces.formats.jpeg import Frame, Scan, frame_of, scans_of
from efq.runtime.faces.formats.problem import damaged
from efq.runtime.faces.formats.scan_ways import WalkScan, Way, blocks_of, check_spare, way_of


class _Progress:
    """What the scans of a picture have brought.

    bits: by component, for each coefficient the lowest bit that has come, -1 for none. coefficients: by component,
    which of each block are not zero, a bit each.
    """

    def __init__(self) -> None:
        self.bits: dict[int, list[int]] = collections.defaultdict(lambda: [-1] * 64)
        self.coefficients: dict[int, array.array[int]] = {}

    def known(self, scan: Scan, way: Way) -> array.array[int]:
        """The coefficients that a scan of a band refines or adds to; empty for other scans."""
        if way not in (Way.BAND, Way.REFINEMENT):
            return array.array("Q")
        none = array.array("Q", bytes(8 * scan.units))
        return self.coefficients.setdefault(scan.components[0].identifier, none)


def check_data(data: bytes) -> None:
    """Walk over all blocks of the picture. Raises DamagedImageError where they do not fill it exactly."""
    check_data_by(compiled_walks.walk_scan if compiled_walks.load_library() else jpeg_walks.walk_scan, data)


def check_data_by(walk_scan: WalkScan, data: bytes) -> None:
    """As `check_data`, by the walk of `jpeg_walks` or by that of `compiled_walks`."""
    frame = frame_of(data)
    progress = _Progress()
    for scan in scans_of(data, frame):
        _check_header(scan, frame, progress)
        way = way_of(scan, progressive=frame.progressive)
        if way is None:
            _check_bits(scan)
            continue
        means = walk_scan(scan, way, progress.known(scan, way))
        if way in (Way.BLOCKS, Way.MEANS):
            _check_means(means, scan)
    if any(any(progress.bits[component.identifier]) for component in frame.components):
        damaged("JPEG", "scans are missing")


def _check_header(scan: Scan, frame: Frame, progress: _Progress) -> None:
    """Spectral selection and successive approximation (T.81, G.1.1.1): each scan brings what is not there yet."""
    valid = scan.first <= scan.last <= 63 and scan.high in (0, scan.low + 1)
    if frame.progressive:
        valid = valid and (scan.last == 0 if scan.first == 0 else len(scan.components) == 1)
    else:
        valid = valid and (scan.first, scan.last, scan.low) == (0, 63, 0)
    band, count = slice(scan.first, scan.last + 1), scan.last + 1 - scan.first
    there = [scan.high or -1] * count
    for component in scan.components:
        bits = progress.bits[component.identifier]
        valid = valid and bits[band] == there
        bits[band] = [scan.low] * count
    if not valid:
        damaged("JPEG", "a scan of what is there already or cannot be refined")


def _check_bits(scan: Scan) -> None:
    """A bit of each block without a code (T.81, G.1.2.1)."""
    blocks = sum(blocks_of(scan))
    for index, segment in enumerate(scan.segments):
        units = min(scan.units_each, scan.units - index * scan.units_each)
        check_spare(len(segment) * 8 - units * blocks)


def _check_means(means: NDArray[np.integer], scan: Scan) -> None:
    """Every block's mean is one of samples of 0 to 255, up to rounding.

    It is told by its difference to the block before (T.81, F.1.1.5.1), so that one damaged block shifts all after it
    up to the end of the segment.
    """
    each = min(scan.units_each, scan.units)
    raw = means.astype(np.int64).reshape(scan.units, -1)
    if scan.units % each:
        raw = np.pad(raw, ((0, -scan.units % each), (0, 0)))  # by differences of zero
    size = raw & 15
    value = (raw >> 4) & ((1 << size) - 1)
    differences = np.where(value >> np.maximum(size - 1, 0) == 0, value - (1 << size) + 1, value)
    start = 0
    for count, step in zip(blocks_of(scan), scan.steps, strict=True):
        of_segments = differences[:, start : start + count].reshape(-1, each * count)
        levels = 128 + (of_segments.cumsum(axis=1) << scan.low) * step / 8
        slack = 1 + (step << scan.low) / 8
        if levels.min() < -slack or levels.max() > 255 + slack:
            damaged("JPEG", "blocks are brighter or darker than pixels can be")
        start += count
