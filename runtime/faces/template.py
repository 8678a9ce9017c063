"""The five points that face networks are trained with, and the transform that brings others to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

# Left eye, right eye, nose, left and right mouth corner (as seen in the image), x and y in pixels of a 112x112 crop.
# The public template of ArcFace (Deng et al., 2019), as in InsightFace's face_align.py.
ARCFACE_TEMPLATE: NDArray[np.float32] = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)], np.float32
)
ARCFACE_TEMPLATE.flags.writeable = False

TEMPLATE_SIZE = 112


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
