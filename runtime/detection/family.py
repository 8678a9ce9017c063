"""What kinds of detectors have in common: how a canvas is fed, and cells of several strides that may hold a face."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from efq.runtime.detection.detections import Detections

Shape = tuple[int | str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signature:
    """What a network takes and gives: a shape has a number for each dimension that is fixed, and text for others."""

    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]


class Family(Protocol):
    """Detectors of one kind, whatever their size."""

    @property
    def name(self) -> str:
        """What they are called."""

    @property
    def min_score(self) -> float:
        """The score from which a face is usually taken for one."""

    def recognizes(self, signature: Signature) -> bool:
        """Whether a network of this signature is one."""

    def feed(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The network's input (1, 3, H, W) for a canvas uint8 (H, W, 3), RGB."""

    def decode(
        self, outputs: Mapping[str, NDArray[np.float32]], size: tuple[int, int], min_score: float
    ) -> Detections | None:
        """The faces of `min_score` and more, in pixels of a canvas of `size`, rows and columns, in any order.

        None for outputs that are not those of such a canvas.
        """


def cell_corners(size: tuple[int, int], stride: int, anchors: int) -> NDArray[np.float32]:
    """x and y of the upper left corner of each cell of a canvas of `size`, row by row, `anchors` times: (cells, 2)."""
    rows, columns = (-(-side // stride) for side in size)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    return np.repeat(grid.astype(np.float32) * stride, anchors, axis=0)


def join(parts: Sequence[Detections]) -> Detections:
    """All of them, the best score first."""
    joined = Detections(
        boxes=np.concatenate([part.boxes for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        landmarks=np.concatenate([part.landmarks for part in parts]),
    )
    return joined.take(np.argsort(-joined.scores, kind="stable"))
