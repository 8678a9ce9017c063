"""The image an ONNX graph takes: its layout, its size, and how many of them the file was written for."""

from __future__ import annotations

import dataclasses

from onnx import TensorProto, ValueInfoProto

from efq.runtime.artifact.contract import LARGEST_SIDE
from efq.toolchain.graph.from_onnx.model_file import declared_shape
from efq.toolchain.graph.from_onnx.refusal import refuse

USUAL_SIZE = (112, 112)
_TYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.UINT8)
_CHANNELS = (3, 1)
_MOST_IMAGES = 1024
_NCHW, _NHWC = (0, 1, 2, 3), (0, 2, 3, 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageLayout:
    """axes: of (N, C, H, W) in the file's order. batch: of the file, None where it is free. size: height and width.

    size_known: whether the file says its size. data_type: of the file's input, of TensorProto.
    """

    axes: tuple[int, int, int, int]
    channels: int
    size: tuple[int, int]
    size_known: bool
    batch: int | None
    data_type: int


def image_layout(image: ValueInfoProto) -> ImageLayout:
    """Raises OnnxRefusalError for an input that is no color image."""
    kind = image.type.tensor_type.elem_type
    if not image.type.HasField("tensor_type") or kind not in _TYPES:
        refuse(f"an input {image.name[:60]!r} that is no tensor of floats or bytes", "")
    shape = declared_shape(image) or (None,) * 4
    if len(shape) != 4:
        shown = ", ".join("?" if size is None else str(size) for size in shape)
        refuse(f"an input {image.name[:60]!r} of ({shown})", "expected images, (N, 3, H, W)")
    last = shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    axes = _NHWC if last or (shape[3] == 3 and shape[1] == 1) else _NCHW
    stored = [shape[axes.index(axis)] for axis in range(4)]
    batch, channels, height, width = stored
    if channels not in (*_CHANNELS, None):
        shown = " x ".join("?" if size is None else str(size) for size in shape)
        refuse(f"images of {shown}", "expected three channels or one, (N, 3, H, W) or (N, H, W, 3)")
    if (batch or 1) > _MOST_IMAGES:
        refuse(f"a batch of {batch:,} images", f"export the network with a free batch, or one of up to {_MOST_IMAGES}")
    if max(height or 1, width or 1) > LARGEST_SIDE:
        refuse(f"images of {height}x{width}", f"expected up to {LARGEST_SIDE} pixels")
    return ImageLayout(
        axes=axes,
        channels=channels or 3,
        size=(height or USUAL_SIZE[0], width or USUAL_SIZE[1]),
        size_known=height is not None and width is not None,
        batch=batch,
        data_type=kind,
    )
