"""Figures mean something only on faces that a network was not fine-tuned on."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.toolchain.data.faces import PREFIX_DIGITS, FaceSet


def training_images(faces: FaceSet, training_hashes: Set[str]) -> list[str]:
    """Paths of the images of `faces` among those a network was fine-tuned on.

    `training_hashes`: the first 16 hexadecimal digits of the SHA-256 of each of its training images.
    """
    found = zip(faces.paths, faces.hashes, strict=True)
    return [path for path, sha256 in found if sha256[:PREFIX_DIGITS] in training_hashes]


def check_unseen(faces: FaceSet, network: Path, training_hashes: Set[str], *, remedy: str) -> None:
    """Raise UsageError, which ends in `remedy`, when `network` was fine-tuned on some of `faces`."""
    found = training_images(faces, training_hashes)
    if found:
        message = (
            f"expected images that {network} was not fine-tuned on, found {len(found)} of {len(faces)} among its "
            f"training images, first {found[0]}; {remedy}"
        )
        raise UsageError(message)
