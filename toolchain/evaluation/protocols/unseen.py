"""Figures mean something only on faces that a network was not fine-tuned on."""

from __future__ import annotations

import logging
from collections.abc import Set
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.toolchain.data.faces import PREFIX_DIGITS, FaceSet

_logger = logging.getLogger(__name__)


def training_images(
    faces: FaceSet, training_hashes: Set[str], training_pixel_hashes: Set[str] | None = None
) -> list[str]:
    """Paths of the images of `faces` among those a network was fine-tuned on: of the same file, or the same pixels.

    `training_hashes`, `training_pixel_hashes`: the first 16 hexadecimal digits of the SHA-256 of each of its training
    images' files, and of their pixels (`pixel_hash`); None for the pixels where they are not known.
    """
    pixels = training_pixel_hashes or frozenset()
    found = zip(faces.paths, faces.hashes, faces.pixel_hashes, strict=True)
    return [
        path
        for path, of_file, of_pixels in found
        if of_file[:PREFIX_DIGITS] in training_hashes or of_pixels[:PREFIX_DIGITS] in pixels
    ]


def check_unseen(
    faces: FaceSet,
    network: Path,
    training_hashes: Set[str],
    training_pixel_hashes: Set[str] | None = None,
    *,
    remedy: str,
) -> None:
    """Raise UsageError, which ends in `remedy`, when `network` was fine-tuned on some of `faces`."""
    found = training_images(faces, training_hashes, training_pixel_hashes)
    if found:
        message = (
            f"expected images that {network} was not fine-tuned on, found {len(found)} of {len(faces)} among its "
            f"training images, first {found[0]}; {remedy}"
        )
        raise UsageError(message)
    if training_hashes and training_pixel_hashes is None:
        _logger.warning(
            "%s knows its training images by their files only, as older versions of EFQ wrote it: copies of them that "
            "were saved again would not be found",
            network,
        )
