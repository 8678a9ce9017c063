"""What a float network reads of an image."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """(pixel - mean) / std for each channel of RGB, pixels from 0 to 255.

    Called on uint8 (N, H, W, 3) it gives float32 (N, 3, H, W).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        offset, scale = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return np.ascontiguousarray(((images - offset) / scale).transpose(0, 3, 1, 2), np.float32)
