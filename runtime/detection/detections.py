"""The faces that a detector found in one photo."""

from __future__ import annotations

import dataclasses
from typing import Self

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Detections:
    """N faces, the best score first, all in pixels of the photo.

    boxes: (N, 4) float32, left, top, right, bottom; they may reach beyond the photo. scores: (N,) float32, 0 to 1.
    landmarks: (N, 5, 2) float32, x and y in the order that `align` takes.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    landmarks: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Self:
        """Those at `places`, in that order."""
        return dataclasses.replace(
            self, boxes=self.boxes[places], scores=self.scores[places], landmarks=self.landmarks[places]
        )

    @property
    def sides(self) -> NDArray[np.float32]:
        """The shorter side of each box, (N,)."""
        return np.asarray((self.boxes[:, 2:] - self.boxes[:, :2]).min(axis=1), np.float32)


def suppress(found: Detections, overlap: float) -> Detections:
    """Of faces that overlap the one of the best score: `overlap` of intersection over union is the most that is kept.

    Greedy non-maximum suppression (Felzenszwalb et al., 2010, section 3.2), in the order of `found`.
    """
    kept = []
    alive = np.ones(len(found), np.bool_)
    areas = np.prod(found.boxes[:, 2:] - found.boxes[:, :2], axis=1)
    for place in range(len(found)):
        if not alive[place]:
            continue
        kept.append(place)
        low = np.maximum(found.boxes[place, :2], found.boxes[:, :2])
        high = np.minimum(found.boxes[place, 2:], found.boxes[:, 2:])
        shared = np.prod(np.clip(high - low, 0, None), axis=1)
        alive &= shared <= overlap * (areas[place] + areas - shared)
    return found.take(np.array(kept, np.int64))
