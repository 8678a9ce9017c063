"""YuNet (Wu et al., Machine Intelligence Research 2023), as OpenCV's FaceDetectorYN takes it, of 2023 and later."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from efq.runtime.detection.detections import Detections
from efq.runtime.detection.family import Signature, cell_corners, join

_STRIDES = (8, 16, 32)
_WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
_LARGEST_EXPONENT = np.float32(20)  # of a box side in cells: beyond any canvas, and a number


class YuNet:
    """Twelve outputs, named by what they are and their stride: a class, an objectness, a box and landmarks a cell."""

    name = "YuNet"
    min_score = 0.6

    def recognizes(self, signature: Signature) -> bool:
        """Whether the outputs have YuNet's names."""
        return set(signature.outputs) == {f"{kind}_{stride}" for kind in _WIDTHS for stride in _STRIDES}

    def feed(self, canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
        """BGR, 0 to 255."""
        return np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None], np.float32)

    def decode(
        self, outputs: Mapping[str, NDArray[np.float32]], size: tuple[int, int], min_score: float
    ) -> Detections | None:
        """As `Family.decode`; the score is the geometric mean of class and objectness."""
        found = []
        for stride in _STRIDES:
            corners = cell_corners(size, stride, 1)
            level = {kind: outputs[f"{kind}_{stride}"] for kind in _WIDTHS}
            if any(values.shape != (1, len(corners), _WIDTHS[kind]) for kind, values in level.items()):
                return None
            scores = np.sqrt(np.clip(level["cls"][0, :, 0], 0, 1) * np.clip(level["obj"][0, :, 0], 0, 1))
            kept = ~(scores < min_score)  # what is no number is found, and refused
            corner, box = corners[kept], level["bbox"][0, kept]
            center = corner + box[:, :2] * np.float32(stride)
            half = np.exp(np.minimum(box[:, 2:], _LARGEST_EXPONENT)) * np.float32(stride / 2)
            found.append(
                Detections(
                    boxes=np.concatenate([center - half, center + half], axis=1),
                    scores=scores[kept],
                    landmarks=corner[:, None] + level["kps"][0, kept].reshape(-1, 5, 2) * np.float32(stride),
                )
            )
        return join(found)
