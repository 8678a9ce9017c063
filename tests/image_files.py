"""One picture as an image file of every form that is read, and of some that are not."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from efq.benchmarks.drawn_faces.batch import drawn_faces

FACE: NDArray[np.uint8] = drawn_faces(1)[0]
FORMS: Mapping[str, tuple[str, str, dict[str, Any]]] = {  # Pillow's format and mode, and how to save
    "jpeg": ("JPEG", "RGB", {"quality": 95}),
    "jpeg-gray": ("JPEG", "L", {"quality": 95}),
    "jpeg-444": ("JPEG", "RGB", {"quality": 95, "subsampling": 0, "optimize": True}),
    "jpeg-progressive": ("JPEG", "RGB", {"quality": 95, "progressive": True}),
    "jpeg-restarts": ("JPEG", "RGB", {"quality": 95, "restart_marker_blocks": 5}),
    "jpeg-cmyk": ("JPEG", "CMYK", {"quality": 95}),
    "jpeg-rgb": ("JPEG", "RGB", {"quality": 95, "keep_rgb": True}),
    "mpo": ("MPO", "RGB", {"quality": 95, "save_all": True}),
    "png": ("PNG", "RGB", {}),
    "png-palette": ("PNG", "P", {}),
    "png-1-bit": ("PNG", "1", {}),
    "png-gray-alpha": ("PNG", "LA", {}),
    "apng": ("PNG", "RGB", {"save_all": True}),
    "webp": ("WEBP", "RGB", {"quality": 95}),
    "webp-lossless": ("WEBP", "RGB", {"lossless": True}),
    "webp-animated": ("WEBP", "RGB", {"lossless": True, "save_all": True}),
    "bmp": ("BMP", "RGB", {}),
    "bmp-palette": ("BMP", "P", {}),
    "tiff": ("TIFF", "RGB", {}),
    "tiff-1-bit": ("TIFF", "1", {}),
    "tiff-cmyk": ("TIFF", "CMYK", {}),
    "tiff-lzw": ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    "tiff-deflate": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "tiff-packbits": ("TIFF", "RGB", {"compression": "packbits"}),
    "tiff-pages": ("TIFF", "RGB", {"save_all": True}),
}
OTHER_FORMS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "gif": ("GIF", "P", {}),
    "avif": ("AVIF", "RGB", {}),
    "pdf": ("PDF", "RGB", {}),
    "tiff-alpha": ("TIFF", "RGBA", {}),
    "tiff-jpeg": ("TIFF", "RGB", {"compression": "jpeg"}),
}


def image_file(form: str, picture: NDArray[np.uint8] = FACE, **options: Any) -> bytes:
    """The bytes of an image file."""
    kind, mode, how = {**FORMS, **OTHER_FORMS}[form]
    image = Image.fromarray(picture)
    if how.get("save_all"):
        how = {**how, "append_images": [Image.fromarray(255 - picture)]}
    buffer = io.BytesIO()
    (image.quantize(64) if mode == "P" else image.convert(mode)).save(buffer, kind, **how, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    """The first picture in RGB as Pillow decodes it, as it is stored."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
