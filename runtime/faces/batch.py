"""Whether an array is a batch of aligned faces as an artifact's contract says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.pixels import check_pixels


def check_images(images: NDArray[np.uint8], contract: InputContract) -> None:
    """Check that `images` is uint8 (N, H, W, 3) with N above zero, and that each holds a picture (`check_pixels`).

    Raises InputError that says how to convert, or which images are none.
    """
    expected = f"expected images as a numpy array uint8 (N, {contract.height}, {contract.width}, 3), RGB"
    if not isinstance(images, np.ndarray):
        message = f"{expected}, found {type(images).__name__}; convert with numpy.asarray, or numpy.stack for a list"
        raise InputError(message)
    advice = _advice(images, contract)
    if advice:
        message = f"{expected}, found {images.dtype} {images.shape}; {advice}"
        raise InputError(message)
    check_pixels(images)


def _advice(images: NDArray[np.uint8], contract: InputContract) -> str | None:
    """How to make the array fit the contract, or None when it fits."""
    size, shape = (contract.height, contract.width), images.shape
    if shape[1:] != (*size, 3) or images.ndim != 4:
        if shape == (*size, 3):
            return "this is one image: pass image[None]"
        if shape[-3:] == (3, *size):
            return "the channels come first: pass images.transpose(0, 2, 3, 1), after [None] for one image"
        if shape[-2:] == size or shape[-3:] == (*size, 1):
            return "these are gray images: the network needs color; convert with cv2.cvtColor(..., cv2.COLOR_GRAY2RGB)"
        if shape[-3:] == (*size, 4):
            return "these have an alpha channel: pass images[..., :3]"
        if images.ndim == 4 and shape[-1] == 3:
            return "these have another size: align the faces with efq.runtime.align and their five landmarks"
        return "pass a batch of aligned color images, height x width x channels"
    if images.dtype != np.uint8:
        return "pass the pixels as decoded, 0 to 255, not normalized: images.astype(numpy.uint8) where they hold those"
    if not len(images):
        return "the batch is empty: pass at least one image"
    return None
