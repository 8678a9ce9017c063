"""Damaged JPEGs walked over in Python and in C++: the same words about each, the same means and coefficients.

    python tests/scripts/fuzz_jpeg_walks.py --count 10000 --seed 0

Under tests/native/sanitized.sh a byte that is read out of bounds ends it.
"""

from __future__ import annotations

import array
import functools
import io
import random
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import tests_folder  # noqa: F401
from counting import count_attempts, parser
from fuzz_images import mutated
from image_files import FACE
from numpy.typing import NDArray
from PIL import Image

from efq.runtime.faces.formats import compiled_walks, jpeg_walks
from efq.runtime.faces.formats.jpeg import Scan
from efq.runtime.faces.formats.jpeg_data import check_data_by
from efq.runtime.faces.formats.problem import DamagedImageError
from efq.runtime.faces.formats.scan_ways import Way

OPTIONS: Sequence[tuple[str, dict[str, Any]]] = (
    ("RGB", {"quality": 90}),
    ("RGB", {"quality": 100, "subsampling": 0}),
    ("RGB", {"quality": 75, "subsampling": 1, "optimize": True}),
    ("RGB", {"quality": 90, "restart_marker_blocks": 3}),
    ("RGB", {"quality": 60, "restart_marker_rows": 1, "optimize": True}),
    ("RGB", {"quality": 90, "progressive": True}),
    ("RGB", {"quality": 98, "progressive": True, "subsampling": 0}),
    ("RGB", {"quality": 90, "progressive": True, "restart_marker_blocks": 4}),
    ("L", {"quality": 90}),
    ("L", {"quality": 95, "progressive": True}),
    ("L", {"quality": 30, "restart_marker_blocks": 1}),
    ("CMYK", {"quality": 85}),
    ("CMYK", {"quality": 85, "progressive": True}),
)


def pictures() -> list[NDArray[np.uint8]]:
    """A face, a part of it with odd sides, noise, one color, and one row of pixels."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    return [FACE, FACE[20:63, 30:83], noise, np.full((90, 61, 3), 77, np.uint8), FACE[50:51]]


@functools.cache
def jpeg_files() -> tuple[bytes, ...]:
    """Baseline and progressive, with every sampling, with restarts and without, in tables of T.81 and of their own."""
    files = []
    for picture in pictures():
        for mode, options in OPTIONS:
            buffer = io.BytesIO()
            Image.fromarray(picture).convert(mode).save(buffer, "JPEG", **options)
            files.append(buffer.getvalue())
        for sampling in (0x411111, 0x221111, 0x121111):
            how = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling, cv2.IMWRITE_JPEG_RST_INTERVAL, sampling & 7]
            files.append(cv2.imencode(".jpg", picture, how)[1].tobytes())
    return tuple(files)


def in_its_data(data: bytes, draw: random.Random) -> bytes:
    """Damaged behind the header of a scan: bits changed, a hole, bytes lost, put in, or none up to the end."""
    starts = [place for place in range(len(data) - 1) if data[place : place + 2] == b"\xff\xda"]
    place = draw.randrange(min(draw.choice(starts) + 4, len(data) - 1), len(data))
    run = draw.choice((1, 1, 2, 16, 40, 300))
    return draw.choice(
        (
            data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :],
            data[:place] + bytes(run) + data[place + run :],
            data[:place] + draw.randbytes(run) + data[place + run :],
            data[:place] + data[place + run :],
            data[:place] + draw.randbytes(run) + data[place:],
            data[:place] + b"\xff\xd9",
            data[:place] + b"\xff" * run + data[place:],
        )
    )


def of_its_tables(data: bytes, draw: random.Random) -> bytes:
    """With other bytes in a Huffman table, its counts or its symbols, or in the header of a scan."""
    starts = [place for place in range(len(data) - 1) if data[place : place + 2] in (b"\xff\xc4", b"\xff\xda")]
    place = min(draw.choice(starts) + draw.randrange(4, 60), len(data) - 1)
    return data[:place] + bytes([draw.choice((0, 1, 2, 11, 12, 0xF0, draw.randrange(256)))]) + data[place + 1 :]


def damaged(draw: random.Random) -> bytes:
    """A JPEG with one to three kinds of damage; some have none."""
    data = draw.choice(jpeg_files())
    for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
        data = draw.choice((in_its_data, in_its_data, of_its_tables, mutated))(data, draw)
        if b"\xff\xda" not in data or b"\xff\xc4" not in data:
            break
    return data + draw.randbytes(draw.choice((0, 0, 1, 300)))


class Both:
    """Walks every scan both ways, and says with one voice what both say."""

    def __init__(self) -> None:
        self.difference = ""

    def __call__(self, scan: Scan, way: Way, known: array.array[int]) -> NDArray[np.integer]:
        other = known[:]
        said, means = self._by(jpeg_walks.walk_scan, scan, way, known)
        compiled_said, compiled_means = self._by(compiled_walks.walk_scan, scan, way, other)
        if said != compiled_said:
            self.difference = f"{said or 'whole'}, in C++ {compiled_said or 'whole'}"
        elif not said and (known != other or not np.array_equal(means, compiled_means)):
            self.difference = "other means or coefficients"
        if said:
            raise DamagedImageError(said)
        return means

    @staticmethod
    def _by(walk: Any, scan: Scan, way: Way, known: array.array[int]) -> tuple[str, NDArray[np.integer]]:
        try:
            means = walk(scan, way, known).astype(np.int64)
        except DamagedImageError as error:
            return str(error), np.empty(0, np.int64)
        size = means & 15
        return "", (means >> 4 & (1 << size) - 1) << 4 | size


def attempt(draw: random.Random, number: int) -> str:
    """What both ways said of a damaged JPEG; a hole begins so: they differ."""
    both = Both()
    try:
        check_data_by(both, damaged(draw))
        said = "whole"
    except DamagedImageError as error:
        said = str(error)
    if both.difference:
        return f"HOLE: {both.difference}"
    return "".join(letter for letter in said if not letter.isdigit()).partition(":")[0]


if __name__ == "__main__":
    count_attempts(parser(__doc__, count=2000).parse_args(), attempt)
