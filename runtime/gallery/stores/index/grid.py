"""Embeddings as int8: one step for all of a gallery, so that integer products order them, and what rounding costs each.

An embedding x is stored as codes c = round(x / step), clipped to -127..127. For a probe q the cosine differs from its
estimate q * (step c) by at most |q| |x - step c| (Cauchy-Schwarz): the residual's length bounds what is not seen.
"""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.gallery.gallery import row_lengths

LARGEST_CODE = 127
_TYPICAL_CLIP = 4.0  # times the standard deviation of the values of a unit vector
_ROOM = 1.5  # above the residuals seen, before a row counts as an odd one
_ROUNDED_UP = 1 + 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """step: between codes. limit: the longest residual of rows that it fits."""

    step: float
    limit: float

    @classmethod
    def for_size(cls, size: int) -> Self:
        """For embeddings of `size` values, none seen yet: values beyond four standard deviations are clipped."""
        step = min(1.0, _TYPICAL_CLIP / size**0.5) / LARGEST_CODE
        return cls(step=step, limit=2 * step * (size / 12) ** 0.5)

    @classmethod
    def fitted(cls, rows: NDArray[np.float32]) -> Self:
        """The grid with the smallest residuals of nearly all of these rows (n, d)."""
        clips = {float(np.quantile(np.abs(rows), part)) for part in (0.99, 0.999, 0.9999, 1.0)}
        steps = [max(clip, 1e-6) / LARGEST_CODE for clip in clips]
        longest = [float(np.quantile(_residuals(rows, _codes(rows, step), step), 0.999)) for step in steps]
        best = int(np.argmin(longest))
        return cls(step=steps[best], limit=_ROOM * longest[best])

    def encode(self, rows: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
        """Codes (n, d), and the length of each row's residual (n,), rounded up."""
        codes = _codes(rows, self.step)
        return codes, _residuals(rows, codes, self.step)


def probe_codes(probes: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Probes (P, d) as whole numbers of -127 to 127 in float32, each one's step (P,), and their residuals (P,)."""
    steps = np.maximum(np.abs(probes).max(axis=1).astype(np.float64), 1e-30) / LARGEST_CODE
    codes = np.rint(probes / steps[:, None]).clip(-LARGEST_CODE, LARGEST_CODE)
    residuals = row_lengths(probes - codes * steps[:, None]) * _ROUNDED_UP
    return codes.astype(np.float32), steps, residuals


def _codes(rows: NDArray[np.float32], step: float) -> NDArray[np.int8]:
    return np.asarray(np.rint(rows * np.float32(1 / step)).clip(-LARGEST_CODE, LARGEST_CODE), np.int8)


def _residuals(rows: NDArray[np.float32], codes: NDArray[np.int8], step: float) -> NDArray[np.float64]:
    return row_lengths(rows - codes * step) * _ROUNDED_UP
