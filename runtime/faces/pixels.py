"""Whether the pixels handed in can be those of faces: the last barrier before a network, which embeds anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

LEAST_SPREAD = 10
"""Gray levels between the 5 % darkest and the 5 % brightest pixels: 43 and more on all of 23,025 photos of faces."""

_SAMPLES = 14  # rows and columns looked at first
_NAMED = 5  # images that a message names


def check_pixels(images: NDArray[np.uint8], names: Sequence[str] | None = None) -> None:
    """Check that every one of `images`, uint8 (N, H, W, 3), holds a picture of 0 to 255.

    Refused are images of nearly one value, as a crop beside the picture has, and those whose pixels were normalized
    before they became integers (0 and 1, or a few around 0, of which negative ones lie at 255). `names` (N) are for the
    message, which otherwise counts images from 0. Raises InputError.
    """
    if not len(images):
        return
    height, width = images.shape[1:3]
    rows, columns = (slice(side // (2 * _SAMPLES), None, max(1, side // _SAMPLES)) for side in (height, width))
    suspects = np.flatnonzero(_least_spread(images[:, rows, columns, 1].reshape(len(images), -1)) < LEAST_SPREAD)
    blank = [int(index) for index in suspects if _least_spread(images[index].reshape(1, -1))[0] < LEAST_SPREAD]
    if blank:
        message = (
            f"expected faces of pixels from 0 to 255, found {_listed(blank, len(images), names)}, "
            f"{_found(images[blank[0]])}"
        )
        raise InputError(message)


def _least_spread(values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(N, K) -> (N), without the outer 5 % on either side; of the values as they are, or of those counted from 128.

    From 128 on, -1 and 1 as unsigned bytes are neighbours.
    """
    ends = (values.shape[1] - 1) * 5 // 100, (values.shape[1] - 1) * 95 // 100
    spreads = []
    for counted in (values, values + np.uint8(128)):
        ordered = np.partition(counted, ends, axis=1)
        spreads.append(ordered[:, ends[1]].astype(np.int64) - ordered[:, ends[0]])
    return np.minimum(*spreads)


def _listed(blank: Sequence[int], total: int, names: Sequence[str] | None) -> str:
    shown = [names[index] if names is not None else str(index) for index in blank[:_NAMED]]
    more = f" and {len(blank) - _NAMED} more" if len(blank) > _NAMED else ""
    if names is not None:
        return ", ".join(shown) + more
    return f"image{'s' * (len(blank) > 1)} {', '.join(shown)}{more} (of {total}, counted from 0)"


def _found(image: NDArray[np.uint8]) -> str:
    values = np.unique(image)
    listed = ", ".join(map(str, values[:8]))
    near_zero = int((values + np.uint8(8)).max()) < 16
    if near_zero and len(values) > 1:
        return (
            f"of the values {listed} only: normalized pixels made integers, black and white, or "
            "a crop beside the picture; pass pixels as decoded, which EFQ normalizes itself, and check the landmarks"
        )
    return (
        f"of nearly one value (between {values[0]} and {values[-1]}, 9 of 10 pixels within {LEAST_SPREAD}); "
        "check the landmarks it was cropped by, and leave empty pictures out"
    )
