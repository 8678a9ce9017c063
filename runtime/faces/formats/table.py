"""The formats that are read, known by their first bytes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from efq.runtime import file_kinds
from efq.runtime.faces.formats import bmp, jpeg, jpeg_data, png, tiff, webp


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ImageFormat:
    """What is found out about an image before it is decoded; each function may raise DamagedImageError.

    size: width and height of the picture as it is stored, from its header. check: that the image is whole.
    exif: the EXIF record, empty for none. turned: whether OpenCV turns it by that, whatever it is asked.
    """

    name: str
    size: Callable[[bytes], tuple[int, int]]
    check: Callable[[bytes], None]
    exif: Callable[[bytes], bytes]
    turned: bool = False


def _jpeg_size(data: bytes) -> tuple[int, int]:
    frame = jpeg.frame_of(data)
    return frame.width, frame.height


def _no_exif(data: bytes) -> bytes:
    return b""


FORMATS: Mapping[file_kinds.FileKind, ImageFormat] = {
    file_kinds.JPEG: ImageFormat(name="JPEG", size=_jpeg_size, check=jpeg_data.check_data, exif=jpeg.exif_of),
    file_kinds.PNG: ImageFormat(name="PNG", size=png.size, check=png.check, exif=png.exif),
    file_kinds.WEBP: ImageFormat(name="WebP", size=webp.size, check=webp.check, exif=webp.exif),
    file_kinds.BMP: ImageFormat(name="BMP", size=bmp.size, check=bmp.check, exif=_no_exif),
    file_kinds.TIFF: ImageFormat(name="TIFF", size=tiff.size, check=tiff.check, exif=tiff.exif, turned=True),
}
