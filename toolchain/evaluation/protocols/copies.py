"""Images and pairs that are there more than once, and so tell less than they seem to."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.data.duplicates import find_duplicates
from efq.toolchain.data.faces import FaceSet

MOST_ALIKE = 0.1
"""Of pairs of which one tells no more than another, or nothing at all: more say that the set is no test."""

_logger = logging.getLogger(__name__)


def check_copies(faces: FaceSet, compared: NDArray[np.int64]) -> None:
    """Raise InputError where two of the images `compared` (M,) are of several people and show one photo.

    Protocols leave such images out when they open faces; this is for sets that were made otherwise.
    """
    hashes = [faces.pixel_hashes[place] for place in compared]
    wrong = find_duplicates(hashes, faces.labels[compared], faces.near_groups[compared]).contradictory
    if len(wrong):
        one = faces.paths[compared[wrong[0]]]
        message = (
            f"expected impostor pairs of different photos in {faces.source}, found {len(wrong)} images that show the "
            f"photo of another identity's image, first {one}; leave them out (open_evaluation_faces does)"
        )
        raise InputError(message)


def check_repeats(name: str, first: NDArray[np.int64], second: NDArray[np.int64], same: NDArray[np.bool_]) -> None:
    """Raise InputError where more than a tenth of the pairs `name` (P,) repeat others, or one is said to be both.

    Fewer count as often as they are listed, so that figures are those of lists as they were published, and are warned
    of: they make intervals too narrow.
    """
    ends = np.sort(np.stack([first, second], axis=1), axis=1)
    known, places = np.unique(ends, axis=0, return_inverse=True)
    genuine = np.bincount(places.ravel(), weights=same, minlength=len(known))
    counts = np.bincount(places.ravel(), minlength=len(known))
    both = np.flatnonzero((genuine > 0) & (genuine < counts))
    if len(both):
        message = (
            f"expected each pair of {name} once, found images {known[both[0]].tolist()} as one person and as two; "
            "correct it"
        )
        raise InputError(message)
    repeats = len(ends) - len(known)
    found = f"{repeats} of {len(ends)} pairs of {name} repeat others"
    if repeats > MOST_ALIKE * len(ends):
        message = f"expected each pair once, found that {found}: they only make intervals narrow; remove them"
        raise InputError(message)
    if repeats:
        _logger.warning("%s, and count as often as they are listed", found)


def warn_of_near_pairs(name: str, near: int, genuine: int, first: str) -> None:
    """A warning that `near` of the `genuine` pairs of `name` are of one photo. Raises InputError for over a tenth."""
    found = (
        f"{near} of {genuine} genuine pairs of {name} are of one photo, compressed anew, resized, cut or mirrored "
        f"(first {first})"
    )
    if near > MOST_ALIKE * genuine:
        message = f"expected different photos of each person, found that {found}; remove the copies"
        raise InputError(message)
    _logger.warning("%s: they are counted, and easier than others", found)
