"""Images that show one photo, compressed anew, resized, slightly cut, made brighter or mirrored.

A perceptual hash by the signs of an image's lowest cosine frequencies (Zauner, "Implementation and benchmarking of
perceptual image hash functions", 2010), of its middle, so that one that was cut is compared with a narrower or wider
window of the other. How often it errs on faces: docs/lab/near-duplicates.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.training_data import NEAR_BYTES

Hashes = NDArray[np.uint8]
"""(N, NEAR_BYTES), or (N, windows, NEAR_BYTES); all zeros where an image has no contrast to be known by."""

MOST_BITS = 32
"""Of 256 in which two hashes of one photo may differ."""

_FREQUENCIES = 24  # a side, of which the lowest are taken
_MARGINS = (1 / 56, 1 / 28, 3 / 56)  # left out on every side, as shares of it: 2, 4 and 6 of 112 pixels
_STORED = 1  # the window of which hashes are kept
_CANDIDATE_BITS = 64  # in which the kept windows differ at most, where the others differ in MOST_BITS
_LEAST_CONTRAST = 2.0  # gray levels, standard deviation of these frequencies
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_IMAGES = 64
_ROWS, _COLUMNS, _PAIRS = 512, 4096, 65_536
_HALF = 4 * NEAR_BYTES  # bits of symmetric frequencies; the others change their signs with the image's sides
_BITS = 2 * _HALF

_Places = tuple[NDArray[np.int64], NDArray[np.int64]]


def near_hashes(images: NDArray[np.uint8]) -> Hashes:
    """(N, windows, NEAR_BYTES) hashes of `images`, uint8 (N, H, W, 3) RGB, by three windows of each."""
    height, width = images.shape[1:3]
    vertical = [_cosines(height, margin) for margin in _MARGINS]
    horizontal = np.concatenate([np.kron(_cosines(width, margin), _LUMINANCE) for margin in _MARGINS]).T
    rows, columns = _frequencies()
    found = np.zeros((len(images), len(_MARGINS), NEAR_BYTES), np.uint8)
    for start in range(0, len(images), _IMAGES):
        batch = np.asarray(images[start : start + _IMAGES], np.float32).reshape(-1, height, width * 3)
        waves = np.split(batch @ horizontal, len(_MARGINS), axis=2)
        for place, (up, across) in enumerate(zip(vertical, waves, strict=True)):
            values = (up @ across)[:, rows, columns]
            contrast = 2 * np.linalg.norm(values, axis=1) / (height * width) >= _LEAST_CONTRAST
            found[start : start + len(batch), place] = np.packbits(values > 0, axis=1) * contrast[:, None]
    return found


def stored_hashes(hashes: Hashes) -> Hashes:
    """(N, NEAR_BYTES), of (N, windows, NEAR_BYTES) those that a network keeps of its training images."""
    return hashes[:, _STORED]


def pack_hashes(hashes: Hashes) -> bytes:
    """The kept ones of (N, windows, NEAR_BYTES), each once, in an order that says nothing, as `TrainingData.near`."""
    kept = np.unique(stored_hashes(hashes), axis=0)
    return kept[kept.any(axis=1)].tobytes()


def unpack_hashes(packed: bytes) -> Hashes:
    """(N, NEAR_BYTES)."""
    return np.frombuffer(packed, np.uint8).reshape(-1, NEAR_BYTES)


def near_any(hashes: Hashes, stored: Hashes) -> NDArray[np.bool_]:
    """Which images of `hashes` (N, windows, NEAR_BYTES) show the photo of any of `stored` (M, NEAR_BYTES), (N,)."""
    found = np.zeros(len(hashes), np.bool_)
    for first, second in _candidates(stored_hashes(hashes), stored):
        unknown = ~found[first]
        for one, other in _pieces(first[unknown], second[unknown]):
            found[one[near_pairs(hashes[one], stored[other])]] = True
    return found


def near_pairs(hashes: Hashes, stored: Hashes) -> NDArray[np.bool_]:
    """Whether each pair shows one photo (P,); `hashes` (P, windows, NEAR_BYTES), `stored` (P, NEAR_BYTES)."""
    return _distances(hashes, stored) <= MOST_BITS


def near_groups(hashes: Hashes) -> NDArray[np.int64]:
    """The first image of the group that each of `hashes` (N, windows, NEAR_BYTES) is in, itself where alone, (N,).

    Images that show one photo are in one group, directly or through others. N * N / 2 comparisons: about two seconds
    for 14,000 images on one core.
    """
    groups, stored = np.arange(len(hashes)), stored_hashes(hashes)
    for first, second in _candidates(stored, stored, later=True):
        for one, other in _pieces(first, second):
            apart = groups[one] != groups[other]
            one, other = one[apart], other[apart]
            near = near_pairs(hashes[one], stored[other])
            for place, copy in zip(one[near].tolist(), other[near].tolist(), strict=True):
                low, high = sorted((groups[place], groups[copy]))
                if low != high:
                    groups[groups == high] = low
    return groups


def _candidates(first: Hashes, second: Hashes, *, later: bool = False) -> Iterator[_Places]:
    """Places in `first` (N, NEAR_BYTES) and `second` (M, NEAR_BYTES) of hashes that differ in few bits, or mirrored.

    With `later` only where the second place is the later one.
    """
    for column in range(0, len(second), _COLUMNS):
        others = _as_signs(second[column : column + _COLUMNS])
        for row in range(0, min(len(first), column + _COLUMNS) if later else len(first), _ROWS):
            block = _as_signs(first[row : row + _ROWS])
            likeness = block[:, _HALF:] @ others[:, _HALF:].T
            np.abs(likeness, out=likeness)
            likeness += block[:, :_HALF] @ others[:, :_HALF].T
            one, other = np.nonzero(likeness >= _BITS - 2 * _CANDIDATE_BITS)
            one, other = one + row, other + column
            yield (one[other > one], other[other > one]) if later else (one, other)


def _pieces(first: NDArray[np.int64], second: NDArray[np.int64]) -> Iterator[_Places]:
    for start in range(0, len(first), _PAIRS):
        yield first[start : start + _PAIRS], second[start : start + _PAIRS]


def _distances(windows: Hashes, stored: Hashes) -> NDArray[np.int64]:
    """Least number of different bits (P,), of any of `windows` (P, windows, NEAR_BYTES), as it is or mirrored."""
    different = _ONES[windows ^ stored[:, None]].astype(np.int64)
    symmetric, sided = (part.sum(axis=2) for part in np.split(different, 2, axis=2))
    bits = symmetric + np.minimum(sided, _HALF - sided)
    blank = ~(windows.any(axis=(1, 2)) & stored.any(axis=1))
    return np.where(blank, _BITS, bits.min(axis=1, initial=_BITS))


def _as_signs(hashes: Hashes) -> NDArray[np.float32]:
    """(N, bits) of 1 and -1; of 0 where there is no hash, which is like none."""
    return (np.unpackbits(hashes, axis=1).astype(np.float32) * 2 - 1) * hashes.any(axis=1, keepdims=True)


@functools.cache
def _frequencies() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertical and horizontal frequency of each bit: the lowest 128 that mirroring keeps, and that it negates."""
    pairs = [(row, column) for row in range(_FREQUENCIES) for column in range(_FREQUENCIES) if row + column]
    pairs.sort(key=lambda pair: (pair[0] ** 2 + pair[1] ** 2, pair))
    chosen = [pair for odd in (0, 1) for pair in [pair for pair in pairs if pair[1] % 2 == odd][:_HALF]]
    rows, columns = np.array(chosen).T
    return rows, columns


def _cosines(side: int, margin: float) -> NDArray[np.float32]:
    """(F, side): integrals over each pixel of the cosines on `side` pixels but the share `margin` at both ends."""
    length = side * (1 - 2 * margin)
    ends = np.clip(np.arange(side + 1) - side * margin, 0, length)
    angles = np.pi * np.arange(1, _FREQUENCIES)[:, None] / length
    waves = np.diff(np.sin(angles * ends), axis=1) / angles
    return np.concatenate([np.diff(ends)[None], waves]).astype(np.float32)


_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
