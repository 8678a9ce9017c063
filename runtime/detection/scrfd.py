"""SCRFD (Guo et al., ICLR 2022, arXiv 2105.04714), as InsightFace exports it with landmarks ("bnkps")."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from efq.runtime.detection.detections import Detections
from efq.runtime.detection.family import Signature, cell_corners, join

_MEAN, _STD = np.float32(127.5), np.float32(128)
_WIDTHS = {1: "scores", 4: "boxes", 10: "landmarks"}
_STRIDES = {3: ((8, 16, 32), 2), 5: ((8, 16, 32, 64, 128), 1)}  # by the number of levels: strides, anchors a cell


class Scrfd:
    """Nine outputs of three strides, or fifteen of five: distances of box sides and landmarks to each anchor's center.

    Outputs are told apart by their widths and sorted by their lengths: names differ from export to export.
    """

    name = "SCRFD"
    min_score = 0.5

    def recognizes(self, signature: Signature) -> bool:
        """Whether outputs of widths 1, 4 and 10 are there, as many of each, and none else."""
        widths = [shape[-1] if shape else None for shape in signature.outputs.values()]
        levels = len(widths) // 3
        named = any(name.startswith("obj") for name in signature.outputs)
        counts = {width: widths.count(width) for width in _WIDTHS}
        return levels in _STRIDES and len(widths) == 3 * levels and set(counts.values()) == {levels} and not named

    def feed(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        """RGB, (x - 127.5) / 128."""
        values = (canvas.astype(np.float32) - _MEAN) / _STD
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None])

    def decode(
        self, outputs: Mapping[str, NDArray[np.float32]], size: tuple[int, int], min_score: float
    ) -> Detections | None:
        """As `Family.decode`."""
        by_width: dict[int, list[NDArray[np.float32]]] = {width: [] for width in _WIDTHS}
        for output in outputs.values():
            flat = output.reshape(-1, output.shape[-1])
            by_width[flat.shape[1]].append(flat)
        levels = [sorted(by_width[width], key=len, reverse=True) for width in (1, 4, 10)]
        strides, anchors = _STRIDES[len(levels[0])]
        found = []
        for stride, scores, boxes, points in zip(strides, *levels, strict=True):
            corners = cell_corners(size, stride, anchors)
            if not len(scores) == len(boxes) == len(points) == len(corners):
                return None
            kept = ~(scores[:, 0] < min_score)  # what is no number is found, and refused
            center, box = corners[kept], boxes[kept] * np.float32(stride)
            found.append(
                Detections(
                    boxes=np.concatenate([center - box[:, :2], center + box[:, 2:]], axis=1),
                    scores=scores[kept, 0],
                    landmarks=center[:, None] + points[kept].reshape(-1, 5, 2) * np.float32(stride),
                )
            )
        return join(found)
