"""A photo of any size as the picture that a detector looks at, and points back from there."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

_HALF = 0.5  # below it, bilinear samples would skip pixels


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """`image`: uint8 (H, W, 3), RGB, the photo in its upper left corner and black elsewhere.

    scale: (2,) float64, pixels of the canvas a pixel of the photo, by x and y.
    """

    image: NDArray[np.uint8]
    scale: NDArray[np.float64]

    def to_photo(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Points (..., 2) of the canvas in pixels of the photo, scaled as InsightFace and OpenCV do."""
        return np.asarray(points / self.scale, np.float32)


def fit_canvas(photo: NDArray[np.uint8], height: int, width: int) -> Canvas:
    """`photo`, uint8 (H, W, 3), made as large as the canvas has room for, in its own ratio of the sides."""
    import cv2

    rows, columns = photo.shape[:2]
    scale = min(height / rows, width / columns)
    size = max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale)))
    image = np.zeros((height, width, 3), np.uint8)
    method = cv2.INTER_AREA if scale < _HALF else cv2.INTER_LINEAR
    image[: size[1], : size[0]] = cv2.resize(photo, size, interpolation=method)
    return Canvas(image=image, scale=np.array(size) / (columns, rows))
