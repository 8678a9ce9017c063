"""Whether what a model gives for images, here or elsewhere, can be their embeddings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LENGTH_TOLERANCE = 1e-3
"""Of an embedding's squared length: float32 rounds to some 1e-6 of it, float16 to 1e-3."""

ROUNDING = 1e-6
"""Of a value of an embedding: two that differ by no more anywhere are the same."""

DIFFERENT = 8.0
"""Mean difference of two images' values, of 255, from which on they have no embedding in common."""

Fault = tuple[str, str]
"""What was expected and what was found, for messages."""


def fault_of(found: object, images: NDArray[np.uint8], *, embedding_size: int, first: int) -> Fault | None:
    """What is wrong with `found`, which has to be float32 (N, d) of unit length; None for embeddings.

    images: uint8 (N, H, W, 3), that they are of. first: the number of the first image, for messages.
    """
    expected = (len(images), embedding_size)
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != expected:
        described = f"{found.dtype} {found.shape}" if isinstance(found, np.ndarray) else type(found).__name__
        return f"float32 {expected}", described
    return _length_fault(found, first=first) or alike_fault(found, images, first=first)


def alike_fault(found: NDArray[np.float32], images: NDArray[np.uint8], *, first: int) -> Fault | None:
    """Of neighbours that have one row: a model that gives all images one gives it to them.

    Images are compared only where rows are alike, as those of one image twice are.
    """
    alike = np.abs(found[1:] - found[:-1]).max(1) <= ROUNDING
    for row in map(int, np.flatnonzero(alike)):
        if np.abs(np.subtract(images[row], images[row + 1], dtype=np.int16)).mean() >= DIFFERENT:
            described = f"the same one for the images {first + row} and {first + row + 1}, which are not alike"
            return "an embedding for each image", described
    return None


def _length_fault(found: NDArray[np.float32], *, first: int) -> Fault | None:
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("nd,nd->n", found, found)
        fits = np.abs(squares - 1) <= LENGTH_TOLERANCE  # False for NaN, too
    if fits.all():
        return None
    row = int(np.argmin(fits))
    return "embeddings of unit length", f"one of length {np.sqrt(squares[row]):g} for image {first + row}"
