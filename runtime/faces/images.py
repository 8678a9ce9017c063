"""Reading image files as uint8 RGB arrays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import flag, path_of, whole_number
from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError, UnreadableImageError, UsageError
from efq.runtime.faces.formats.exif import orientation_of
from efq.runtime.faces.formats.problem import DamagedImageError
from efq.runtime.faces.formats.table import FORMATS, ImageFormat
from efq.runtime.faces.orientation import TRANSPOSED, stored, upright
from efq.runtime.file_kinds import FIRST_BYTES, kind_of_bytes
from efq.runtime.reading import open_regular

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Of the files that are looked for in folders. What a file is is told by its first bytes."""

MOST_PIXELS = 200_000_000
"""Of an image: 600 MB as an array. The largest sensors of phones have 200 million, those of cameras 150."""

MOST_BYTES = 2**30
"""Of an image file."""

_ROWS = 1024  # whose colors are exchanged at once, through a copy
_NAMES = "JPEG, PNG, WebP, BMP or TIFF"


def read_image(path: Path | str, *, exif_orientation: bool = True) -> NDArray[np.uint8]:
    """Decode an image file to uint8 (H, W, 3), RGB; otherwise as `decode_image`.

    Raises UnreadableImageError for a file that is missing, no regular file, no image, damaged or too large,
    UsageError for what is no path.
    """
    place = path_of(path, "an image file")
    return decode_image(read_image_bytes(place), name=str(place), exif_orientation=exif_orientation)


def read_image_bytes(path: Path) -> bytes:
    """The bytes of an image file; of another kind of file only the first are read.

    Raises UnreadableImageError when it cannot be read, is no image or has more than `MOST_BYTES`.
    """
    expected = f"an image ({_NAMES})"
    with open_regular(path, limit=MOST_BYTES, expected=expected, error_class=UnreadableImageError) as file:
        start = file.read(FIRST_BYTES)
        _format_of(start, str(path))
        return start + file.read(MOST_BYTES)


def decode_image(
    data: bytes | bytearray | memoryview,
    *,
    name: str,
    exif_orientation: bool = True,
    most_pixels: int = MOST_PIXELS,
) -> NDArray[np.uint8]:
    """Decode the bytes of a JPEG, PNG, WebP, BMP or TIFF file to uint8 (H, W, 3), RGB; `name` is for the message.

    Of several pictures it is the first (not a thumbnail, nor the film of a motion photo). Gray becomes RGB, 16 bits
    become 8, a palette and CMYK become colors, transparency is ignored. The picture is turned as its EXIF
    record says, as it is shown, unless `exif_orientation` is False: then it is as stored.

    Raises UnreadableImageError for bytes that are no such image, an image that is damaged or ends early as far as can
    be told (docs/photos.md), and one of more than `most_pixels`, before anything of that size is made; UsageError for
    arguments of another type.
    """
    import cv2

    data = _bytes_of(data)
    most_pixels = whole_number(most_pixels, "most_pixels of 1 and more", least=1)
    exif_orientation = flag(exif_orientation, "exif_orientation")
    found = _format_of(data[:FIRST_BYTES], name)
    try:
        size = found.size(data)
        if size[0] * size[1] > most_pixels:
            message = f"expected an image of at most {most_pixels:,} pixels in {name}, found {size[0]:,} x {size[1]:,}"
            raise UnreadableImageError(message)
        found.check(data)
        orientation = orientation_of(found.exif(data))
    except DamagedImageError as error:
        message = f"expected a whole image in {name}, found {error}"
        raise UnreadableImageError(message) from error
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        message = f"expected an image in {name}, found a {found.name} image that cannot be decoded"
        raise UnreadableImageError(message)
    turned = found.turned and TRANSPOSED[orientation]
    if image.shape[:2] != (size if turned else size[::-1]):
        message = f"expected {size[0]} x {size[1]} pixels in {name}, as its header says, found {image.shape[1::-1]}"
        raise UnreadableImageError(message)
    picture = np.asarray(image, np.uint8)
    for start in range(0, len(picture), _ROWS):
        part = picture[start : start + _ROWS]
        cv2.cvtColor(part, cv2.COLOR_BGR2RGB, dst=part)
    if found.turned != exif_orientation:
        picture = upright(picture, orientation) if exif_orientation else stored(picture, orientation)
    return np.ascontiguousarray(picture)


def _bytes_of(data: object) -> bytes:
    if isinstance(data, bytes):
        return data
    if isinstance(data, bytearray | memoryview):
        return bytes(data)
    message = (
        f"expected the bytes of an image file, found {type(data).__name__}; read_image reads a file by its path, and "
        "numpy's tobytes() makes bytes of an array that holds a file"
    )
    raise UsageError(message)


def image_orientation(data: bytes, *, name: str) -> int:
    """How an image is stored, 1 to 8 as in EXIF, where 1 is upright. Raises UnreadableImageError as `decode_image`."""
    try:
        return orientation_of(_format_of(data[:FIRST_BYTES], name).exif(data))
    except DamagedImageError as error:
        message = f"expected a whole image in {name}, found {error}"
        raise UnreadableImageError(message) from error


def read_face(path: Path, contract: InputContract, *, exif_orientation: bool = True) -> NDArray[np.uint8]:
    """Read an aligned face of the contract's size: uint8 (H, W, 3), RGB.

    Raises UnreadableImageError, or InputError when the image has another size.
    """
    image = read_image(path, exif_orientation=exif_orientation)
    check_face_size(image, contract, str(path))
    return image


def check_face_size(image: NDArray[np.uint8], contract: InputContract, name: str) -> None:
    """Raise InputError for an image (H, W, 3), `name` in the message, of another size than the contract's faces."""
    height, width = image.shape[:2]
    if (height, width) != (contract.height, contract.width):
        message = (
            f"expected an aligned face of {contract.height}x{contract.width} pixels in {name}, found {height}x{width}; "
            "align it first (efq.runtime.align with five landmarks, or efq-embed --landmarks FILE.csv)"
        )
        raise InputError(message)


def read_faces(paths: Iterable[Path], contract: InputContract) -> NDArray[np.uint8]:
    """Read aligned faces: uint8 (N, H, W, 3), RGB; (0, H, W, 3) for no paths. Raises as `read_face`."""
    faces = [read_face(path, contract) for path in paths]
    return np.stack(faces) if faces else np.empty((0, contract.height, contract.width, 3), np.uint8)


def _format_of(start: bytes, name: str) -> ImageFormat:
    """The format by a file's first bytes. Raises UnreadableImageError for another file."""
    kind = kind_of_bytes(start)
    if kind is None or kind not in FORMATS:
        found = kind.sentence if kind else "a file of no format that is known"
        message = f"expected an image ({_NAMES}) in {name}, found {found}"
        raise UnreadableImageError(message)
    return FORMATS[kind]
