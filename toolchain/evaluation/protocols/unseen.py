"""Figures mean something only on faces that a network was not fine-tuned on."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Set
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.toolchain.data.faces import PREFIX_DIGITS, FaceSet
from efq.toolchain.data.near_duplicates import near_any, unpack_hashes

MOST_NEAR = 0.01
"""Of the images: fewer of one photo with a training image are an accident, and are marked."""

_NAMED = 3

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeenImages:
    """Paths of images that a network was fine-tuned on.

    same: of the same file or the same pixels. near: of the same photo, compressed anew, resized, cut or mirrored.
    """

    same: tuple[str, ...]
    near: tuple[str, ...]


def seen_images(
    faces: FaceSet,
    training_hashes: Set[str],
    training_pixel_hashes: Set[str] | None = None,
    training_near_hashes: bytes | None = None,
) -> SeenImages:
    """The images of `faces` among those a network was fine-tuned on.

    `training_hashes`, `training_pixel_hashes`: the first 16 hexadecimal digits of the SHA-256 of each of its training
    images' files, and of their pixels (`pixel_hash`); `training_near_hashes`: as `TrainingData.near`. None where they
    are not known.
    """
    pixels = training_pixel_hashes or frozenset()
    hashes = zip(faces.hashes, faces.pixel_hashes, strict=True)
    same = [
        of_file[:PREFIX_DIGITS] in training_hashes or of_pixels[:PREFIX_DIGITS] in pixels
        for of_file, of_pixels in hashes
    ]
    near = near_any(faces.near_hashes, unpack_hashes(training_near_hashes)) if training_near_hashes else same
    return SeenImages(
        same=tuple(path for path, seen in zip(faces.paths, same, strict=True) if seen),
        near=tuple(path for path, seen, alike in zip(faces.paths, same, near, strict=True) if alike and not seen),
    )


def training_images(
    faces: FaceSet,
    training_hashes: Set[str],
    training_pixel_hashes: Set[str] | None = None,
    training_near_hashes: bytes | None = None,
) -> list[str]:
    """Paths of all images that `seen_images` finds."""
    found = seen_images(faces, training_hashes, training_pixel_hashes, training_near_hashes)
    return sorted((*found.same, *found.near))


def check_unseen(
    faces: FaceSet,
    network: Path,
    training_hashes: Set[str],
    training_pixel_hashes: Set[str] | None = None,
    training_near_hashes: bytes | None = None,
    *,
    remedy: str,
) -> None:
    """Raise UsageError, which ends in `remedy`, when `network` was fine-tuned on some of `faces`.

    So it was when one is of the same file or pixels as a training image, or more than a hundredth of the same photo;
    fewer are named in a warning.
    """
    found = seen_images(faces, training_hashes, training_pixel_hashes, training_near_hashes)
    near = ", ".join(found.near[:_NAMED]) + (", ..." if len(found.near) > _NAMED else "")
    if found.same or len(found.near) > MOST_NEAR * len(faces):
        count = len(found.same) + len(found.near)
        copies = f" ({len(found.near)} of them compressed anew, resized, cut or mirrored)" if found.near else ""
        message = (
            f"expected images that {network} was not fine-tuned on, found {count} of {len(faces)} among its "
            f"training images{copies}, first {(*found.same, *found.near)[0]}; {remedy}"
        )
        raise UsageError(message)
    if found.near:
        _logger.warning(
            "%d of %d images show photos that %s was fine-tuned on, compressed anew, resized, cut or mirrored (%s): "
            "this is no clean test",
            len(found.near),
            len(faces),
            network,
            near,
        )
    unknown = training_pixel_hashes is None or training_near_hashes is None
    if training_hashes and unknown:
        _logger.warning(
            "%s knows its training images by their %s only, as older versions and --no-near-hashes leave them: copies "
            "that were saved again%s would not be found",
            network,
            "files" if training_pixel_hashes is None else "files and pixels",
            "" if training_pixel_hashes is None else " with loss",
        )
