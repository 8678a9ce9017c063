"""Reading image files as uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError, UnreadableImageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def find_images(folder: Path) -> list[Path]:
    """All image files under `folder`, by suffix (any case), sorted by path."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file to uint8 (H, W, 3), RGB.

    Raises UnreadableImageError when the file is missing, is no image or is truncated.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        message = f"expected an image at {path}, found: {error.strerror or error}"
        raise UnreadableImageError(message) from error
    return decode_image(data, name=str(path))


def decode_image(data: bytes, *, name: str) -> NDArray[np.uint8]:
    """Decode the bytes of an image file to uint8 (H, W, 3), RGB; `name` is for the message.

    Raises UnreadableImageError when the bytes are no image or are truncated.
    """
    import cv2

    if _is_truncated(data):
        message = f"expected a whole image in {name}, found one that ends early; fetch the file again or remove it"
        raise UnreadableImageError(message)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error:
        image = None
    if image is None:
        message = f"expected a JPEG or PNG image in {name}, found {len(data)} bytes that cannot be decoded; remove it"
        raise UnreadableImageError(message)
    return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def read_face(path: Path, contract: InputContract) -> NDArray[np.uint8]:
    """Read an aligned face of the contract's size: uint8 (H, W, 3), RGB.

    Raises UnreadableImageError, or InputError when the image has another size.
    """
    image = read_image(path)
    height, width = image.shape[:2]
    if (height, width) != (contract.height, contract.width):
        message = (
            f"expected an aligned face of {contract.height}x{contract.width} pixels in {path}, found {height}x{width}; "
            "align it first (efq.runtime.align with five landmarks, or efq-embed --landmarks FILE.csv)"
        )
        raise InputError(message)
    return image


def read_faces(paths: Iterable[Path], contract: InputContract) -> NDArray[np.uint8]:
    """Read aligned faces: uint8 (N, H, W, 3), RGB; (0, H, W, 3) for no paths. Raises as `read_face`."""
    faces = [read_face(path, contract) for path in paths]
    return np.stack(faces) if faces else np.empty((0, contract.height, contract.width, 3), np.uint8)


def _is_truncated(data: bytes) -> bool:
    """Whether a JPEG's last scan or a PNG has no end marker; decoders fill the missing rows with gray, silently."""
    if data.startswith(_JPEG_START):
        return data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)
    return data.startswith(_PNG_START) and _PNG_END not in data
