"""Turning pictures, and points on them, as EXIF says (TIFF 6.0, tag 274)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# By orientation: whether rows and columns are exchanged first, then whether rows and columns are reversed.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}

TRANSPOSED = {orientation: turn[0] for orientation, turn in _TURNS.items()}
"""Whether a picture of this orientation is shown with its width and height exchanged."""


def upright(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) as it is shown, from the one that is stored."""
    transposed, rows, columns = _TURNS[orientation]
    turned = image.transpose(1, 0, 2) if transposed else image
    return turned[:: -1 if rows else 1, :: -1 if columns else 1]


def stored(image: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) as it is stored, from the one that is shown: a view."""
    transposed, rows, columns = _TURNS[orientation]
    turned = image[:: -1 if rows else 1, :: -1 if columns else 1]
    return turned.transpose(1, 0, 2) if transposed else turned
