"""Alignment of a face by five landmarks to the template that face networks are trained with."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from efq.runtime.errors import InputError

# Left eye, right eye, nose, left and right mouth corner (as seen in the image), x and y in pixels of a 112x112 crop.
# The public template of ArcFace (Deng et al., 2019), as in InsightFace's face_align.py.
ARCFACE_TEMPLATE: NDArray[np.float32] = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float32
)
ARCFACE_TEMPLATE.flags.writeable = False

_TEMPLATE_SIZE = 112
_LARGEST_SIDE = 32766  # of cv2.warpAffine, whose coordinates are 16-bit


def align(image: NDArray[np.uint8], landmarks: ArrayLike, size: int = 112) -> NDArray[np.uint8]:
    """Crop the face or faces of an image by their landmarks, turned and scaled to the ArcFace template.

    image: uint8 (H, W, 3). landmarks: (5, 2), or (N, 5, 2) for N faces, x and y in pixels of the image, in the
    order of ARCFACE_TEMPLATE. Returns uint8 (size, size, 3) or (N, size, size, 3); what lies outside the image
    is black. Raises InputError for other shapes and for landmarks that determine no transform.
    """
    import cv2

    _check_image(image)
    points = _checked_landmarks(landmarks)
    template = ARCFACE_TEMPLATE.astype(np.float64) * (size / _TEMPLATE_SIZE)
    faces = np.empty((*points.shape[:-2], size, size, 3), np.uint8)
    for face, face_points in zip(faces.reshape(-1, size, size, 3), points.reshape(-1, 5, 2), strict=True):
        face[:] = cv2.warpAffine(image, similarity_transform(face_points, template), (size, size))
    return faces


def similarity_transform(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, scale and shift that bring `source` (K, 2) nearest to `target` (K, 2): float64 (2, 3).

    Least squares over all points, without reflection (Umeyama, 1991). In the plane, with points as complex numbers,
    a rotation and scale is one factor: target = factor * source + shift, the solution a linear regression.
    Raises InputError when the points determine no transform.
    """
    source_center, target_center = source.mean(axis=0), target.mean(axis=0)
    source_points = (source - source_center) @ (1, 1j)
    target_points = (target - target_center) @ (1, 1j)
    spread = float(np.mean(np.abs(source_points) ** 2))
    if not spread >= 1:
        message = (
            f"expected landmarks in pixels of the image, found five within one pixel around {source_center.tolist()}; "
            "multiply fractions by the image's width and height"
        )
        raise InputError(message)
    factor = np.mean(source_points.conj() * target_points) / spread
    if abs(factor) < 1e-6:
        message = (
            f"expected landmarks in the order of the template, found {source.tolist()}, which no rotation brings near"
        )
        raise InputError(message)
    rotation = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]])
    return np.column_stack([rotation, target_center - rotation @ source_center])


def _check_image(image: NDArray[np.uint8]) -> None:
    valid = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not valid or not all(0 < side <= _LARGEST_SIDE for side in image.shape):
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        message = f"expected an image uint8 (H, W, 3), RGB, with sides of 1 to {_LARGEST_SIDE} pixels, found {found}"
        raise InputError(message)


def _checked_landmarks(landmarks: ArrayLike) -> NDArray[np.float64]:
    expected = "expected landmarks (5, 2) or (N, 5, 2), x and y in pixels, all finite"
    try:
        points = np.asarray(landmarks, np.float64)
    except (TypeError, ValueError) as error:
        message = f"{expected}, found {landmarks!r}"
        raise InputError(message) from error
    if points.ndim not in (2, 3) or points.shape[-2:] != (5, 2):
        message = f"{expected}, found the shape {points.shape}"
        raise InputError(message)
    if not np.isfinite(points).all():
        message = f"{expected}, found {points.tolist()}"
        raise InputError(message)
    return points
