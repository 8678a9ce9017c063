"""Alignment of a face by five landmarks to the template that face networks are trained with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.landmark_fit import check_inside, check_order
from efq.runtime.faces.template import TEMPLATE_SIZE, similarity_transform
from efq.runtime.faces.templates import SCALED, TEMPLATES, contract_points

_LARGEST_SIDE = 32766  # of cv2.warpAffine, whose coordinates are 16-bit
_FARTHEST = 1e6  # of landmarks, so that squares of them are numbers


def align(
    image: NDArray[np.uint8],
    landmarks: ArrayLike,
    size: int = TEMPLATE_SIZE,
    *,
    contract: InputContract | None = None,
    image_size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Crop the face or faces of an image by their landmarks, turned and scaled to a template.

    That of ArcFace in a square of `size` pixels, or the size and template of `contract`, an artifact's
    (`Embedder.contract`), which `efq.runtime.faces.templates` has by name.

    image: uint8 (H, W, 3). landmarks: (5, 2), or (N, 5, 2) for N faces, x and y in pixels of the image, in the order of
    ARCFACE_TEMPLATE: left eye, right eye, nose, left and right corner of the mouth as seen in the image. image_size:
    width and height of the picture that the landmarks are of, where that is the image at another scale. Returns uint8
    (H, W, 3) or (N, H, W, 3); what lies outside the image is black.

    Raises InputError for other shapes, for landmarks that no face has (`check_order`: another order, y before x), for
    those of which most lie outside the image (`check_inside`), and for an image_size of another shape; of N faces it
    names the first that is refused. Raises UsageError for a contract of faces that are cropped by no such template.
    """
    _check_image(image)
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 0 < size <= _LARGEST_SIDE:
        message = f"expected a size of 1 to {_LARGEST_SIDE} pixels, found {size!r}"
        raise InputError(message)
    place = TEMPLATES[SCALED].points(size) if contract is None else contract_points(contract)
    rows, columns = (size, size) if contract is None else (contract.height, contract.width)
    height, width = image.shape[:2]
    points = _checked_landmarks(landmarks)
    if image_size is not None:
        points = scaled_landmarks(points, image_size, (width, height))
    faces = np.empty((*points.shape[:-2], rows, columns, 3), np.uint8)
    for index, face_points in enumerate(points.reshape(-1, 5, 2)):
        try:
            faces.reshape(-1, rows, columns, 3)[index] = _crop(image, face_points, place, (columns, rows))
        except InputError as error:
            if points.ndim == 2:
                raise
            message = f"face {index} of {len(points)}, counted from 0: {error}"
            raise InputError(message) from error
    return faces


def scaled_landmarks(
    points: NDArray[np.float64], image_size: tuple[int, int], size: tuple[int, int]
) -> NDArray[np.float64]:
    """Landmarks (..., 2) on a picture of `image_size`, width and height, as they lie on it resized to `size`.

    Raises InputError when that is no scaling: the sides are in another ratio, up to rounding.
    """
    expected = "expected image_size, the width and height of the picture that the landmarks are of,"
    try:
        before_width, before_height = (float(side) for side in image_size)
    except (TypeError, ValueError) as error:
        message = f"{expected} found {image_size!r}"
        raise InputError(message) from error
    if not (1 <= before_width < np.inf and 1 <= before_height < np.inf):
        message = f"{expected} found {image_size!r}"
        raise InputError(message)
    width, height = size
    slack = max(width + height, before_width + before_height)  # a side rounded up or down by one pixel
    if abs(width * before_height - height * before_width) > slack:
        turned = abs(width * before_width - height * before_height) <= slack
        advice = (
            "it is turned by its EXIF record; give --no-exif-orientation if the landmarks are of it as stored"
            if turned
            else "give landmarks of this picture, not of one that was cropped, padded or stretched"
        )
        message = f"{expected} in the shape of {width}x{height}, found {before_width:g}x{before_height:g}; {advice}"
        raise InputError(message)
    if (before_width, before_height) == size:
        return points
    return (points + 0.5) * (width / before_width, height / before_height) - 0.5


def _crop(
    image: NDArray[np.uint8], points: NDArray[np.float64], place: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """The face whose `points` come to lie at `place` in a crop of `size`, width and height."""
    import cv2

    transform = similarity_transform(points, place)
    check_order(points)
    check_inside(points, *image.shape[1::-1])
    return np.asarray(cv2.warpAffine(image, transform, size), np.uint8)


def _check_image(image: NDArray[np.uint8]) -> None:
    valid = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not valid or not all(0 < side <= _LARGEST_SIDE for side in image.shape):
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        message = f"expected an image uint8 (H, W, 3), RGB, with sides of 1 to {_LARGEST_SIDE} pixels, found {found}"
        raise InputError(message)


def _checked_landmarks(landmarks: ArrayLike) -> NDArray[np.float64]:
    expected = f"expected landmarks (5, 2) or (N, 5, 2), x and y in pixels, finite and below {_FARTHEST:,.0f}"
    try:
        points = np.asarray(landmarks)
        points = points.astype(np.float64, casting="same_kind" if points.dtype.kind == "c" else "unsafe")
    except (TypeError, ValueError) as error:
        message = f"{expected}, found {landmarks!r}"
        raise InputError(message) from error
    if points.ndim not in (2, 3) or points.shape[-2:] != (5, 2):
        message = f"{expected}, found the shape {points.shape}"
        raise InputError(message)
    if not (np.abs(points) < _FARTHEST).all():
        message = f"{expected}, found {points.tolist()}"
        raise InputError(message)
    return points
