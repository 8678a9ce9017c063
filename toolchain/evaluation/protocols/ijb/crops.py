"""An image of IJB-B or IJB-C, cut to what a network takes by the landmarks that come with the benchmark."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.images import decode_image, read_image_bytes
from efq.runtime.faces.pixels import check_pixels
from efq.runtime.faces.template import similarity_transform
from efq.runtime.faces.templates import contract_points
from efq.toolchain.data.duplicates import pixel_hash

_LARGEST_SIDE = 32766  # of cv2.warpAffine, whose coordinates are 16-bit


class Crop(NamedTuple):
    """A face uint8 (H, W, 3), RGB, and the hashes of the image it was cut from: of its file and of its pixels."""

    face: NDArray[np.uint8]
    file_hash: str
    pixel_hash: str


class Cropper:
    """Cuts the faces of images in `folder` for networks of `contract`.

    As `efq.runtime.align`, but also by landmarks that no face has: those of a benchmark are part of it, and were used
    for the figures that are published. Raises UsageError for a contract of faces that are cut by no five landmarks.
    """

    def __init__(self, folder: Path, contract: InputContract) -> None:
        self._folder = folder
        self._template = contract_points(contract)
        self._size = contract.width, contract.height

    def __call__(self, name: str, points: NDArray[np.float32]) -> Crop:
        """The face with landmarks `points` (5, 2) in the image `name`.

        Raises UnreadableImageError, and InputError for landmarks that determine no crop or one beside the picture.
        """
        import cv2

        data = read_image_bytes(self._folder / name)
        image = decode_image(data, name=name)
        if max(image.shape) > _LARGEST_SIDE:
            message = f"expected an image with sides of at most {_LARGEST_SIDE} pixels in {name}, found {image.shape}"
            raise InputError(message)
        transform = similarity_transform(points.astype(np.float64), self._template)
        face = np.asarray(cv2.warpAffine(image, transform, self._size), np.uint8)
        check_pixels(face[None], [name])
        return Crop(face, hashlib.sha256(data).hexdigest(), pixel_hash(image))
