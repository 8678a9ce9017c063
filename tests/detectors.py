"""A face detector without weights of anybody: it finds blue squares, and says that they are the noses of faces.

Its graph has the outputs of SCRFD or YuNet; a cell of 8 pixels of pure blue is a face of 80 x 80 around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from efq.runtime.faces.template import ARCFACE_TEMPLATE

STRIDES = (8, 16, 32)
SIDE = 80
"""Of every face that is found, in pixels of the canvas."""

BLUE = (0, 0, 255)
_SCALE = SIDE / 112

Kind = Literal["scrfd", "yunet"]


def landmark_offsets() -> NDArray[np.float64]:
    """The five points (5, 2) of a face, from the middle of its box, in pixels of the canvas."""
    return (ARCFACE_TEMPLATE.astype(np.float64) - 56) * _SCALE


def paste_face(photo: NDArray[np.uint8], face: NDArray[np.uint8], column: int, row: int) -> None:
    """Put `face` (112, 112, 3) into `photo` as the detector finds it: around the cell that begins at column, row.

    Both are multiples of 8, of a photo as large as the canvas.
    """
    import cv2

    left, top = column + 4 - SIDE // 2, row + 4 - SIDE // 2
    photo[top : top + SIDE, left : left + SIDE] = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    photo[row : row + 8, column : column + 8] = BLUE


def write_photos(folder: Path, names: Sequence[str], *, side: int = 320) -> None:
    """Photos as large as a canvas of `side`, of a drawn face each."""
    import cv2
    from networks import draw_faces

    for name, face in zip(names, draw_faces(len(names), 1), strict=True):
        photo = np.full((side, side, 3), 90, np.uint8)
        paste_face(photo, face, 120, 160)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), photo[:, :, ::-1])


def make_detector(path: Path, kind: Kind = "scrfd", size: int | str = 640) -> Path:
    """Write the ONNX file, for a canvas of `size`, or of any where it is a name."""
    builder = _Builder(kind, size)
    for stride in STRIDES:
        builder.level(stride)
    onnx.save(builder.model(), path)
    return path


class _Builder:
    def __init__(self, kind: Kind, size: int | str) -> None:
        self._kind, self._size = kind, size
        self._anchors = 2 if kind == "scrfd" else 1
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def level(self, stride: int) -> None:
        """The outputs of one stride; only that of 8 finds anything."""
        offsets = landmark_offsets().reshape(-1) / stride + 4 / stride
        half = SIDE / 2 / stride
        middle = 4 / stride
        if self._kind == "scrfd":
            outputs = {
                "score": [None],
                "bbox": [half - middle, half - middle, half + middle, half + middle],
                "kps": offsets.tolist(),
            }
        else:
            outputs = {
                "cls": [None],
                "obj": [None],
                "bbox": [middle, middle, *[float(np.log(SIDE / stride))] * 2],
                "kps": offsets.tolist(),
            }
        for name, values in outputs.items():
            self._head(f"{name}_{stride}", values, stride)

    def _head(self, name: str, values: list[float | None], stride: int) -> None:
        """A convolution of a stride, kernel as large; a score is that of blue, other values are constants."""
        score = values == [None]
        channels = self._anchors * len(values)
        weight = np.zeros((channels, 3, stride, stride), np.float32)
        bias = np.tile(np.array([0.0 if score else value for value in values], np.float32), self._anchors)
        if score:
            weight[0], bias[:] = self._blue(stride), -1000.0
            bias[0] = -75.0 if stride == 8 else -1000.0
        self._weights += [numpy_helper.from_array(weight, f"{name}_w"), numpy_helper.from_array(bias, f"{name}_b")]
        shape = numpy_helper.from_array(np.array([1, -1, len(values)], np.int64), f"{name}_shape")
        self._weights.append(shape)
        last = f"{name}_flat" if score else name
        self._nodes += [
            helper.make_node("Conv", ["input", f"{name}_w", f"{name}_b"], [f"{name}_c"], strides=[stride, stride]),
            helper.make_node("Transpose", [f"{name}_c"], [f"{name}_t"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", [f"{name}_t", f"{name}_shape"], [last]),
        ]
        if score:
            self._nodes.append(helper.make_node("Sigmoid", [last], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, None, len(values)]))

    def _blue(self, stride: int) -> NDArray[np.float32]:
        """Weights (3, stride, stride) whose sum over a cell of pure blue is 100, and at most 0 over gray."""
        white = 127.5 / 128 if self._kind == "scrfd" else 255.0
        signs = np.array([-1, -1, 1] if self._kind == "scrfd" else [2, -1, -1], np.float32)  # RGB and BGR
        gain = 100 / (3 * white if self._kind == "scrfd" else 2 * white) / stride**2
        return np.broadcast_to((signs * np.float32(gain))[:, None, None], (3, stride, stride))

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        shape = [1, 3, self._size, self._size]
        graph = helper.make_graph(
            self._nodes,
            "detector",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
            self._outputs,
            self._weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
