"""Whether a set of faces holds pictures, looked at once before any work with it."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.faces.pixels import check_pixels
from efq.toolchain.data.faces import FaceSet

_MOST_BLANK = 0.1  # of the images
_CHUNK = 256

_logger = logging.getLogger(__name__)


def check_pictures(faces: FaceSet) -> None:
    """Look at the range and spread of every image's pixels (`efq.runtime.faces.pixels`).

    Raises InputError where more than one in ten hold no picture, as those that were normalized before they were stored,
    or where all are copies of one; a few are named in a warning.
    """
    blank = np.flatnonzero([not seen for seen in _seen(faces.images)])
    if len(blank) > _MOST_BLANK * len(faces):
        first = int(blank[0])
        named = f"{len(blank)} of {len(faces)} images, first {faces.paths[first]}"
        check_pixels(np.array(faces.images[first : first + 1]), [named])
    if len(blank):
        _logger.warning(
            "%d of %d images hold no picture, first %s: remove them", len(blank), len(faces), faces.paths[blank[0]]
        )
    if len(faces) > 1 and all(np.array_equal(image, faces.images[0]) for image in faces.images[1:]):
        message = (
            f"expected different faces, found {len(faces)} copies of one image, first {faces.paths[0]}: give others"
        )
        raise InputError(message)


def _seen(images: NDArray[np.uint8]) -> list[bool]:
    found: list[bool] = []
    for start in range(0, len(images), _CHUNK):
        chunk = np.asarray(images[start : start + _CHUNK])
        whole = _is_picture(chunk)
        found += [whole or _is_picture(chunk[place : place + 1]) for place in range(len(chunk))]
    return found


def _is_picture(images: NDArray[np.uint8]) -> bool:
    try:
        check_pixels(images)
    except InputError:
        return False
    return True
