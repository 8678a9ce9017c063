"""The crops that people were enrolled with, as files by the names of the gallery's faces."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.images import decode_image, read_image_bytes
from efq.runtime.gallery.gallery import Gallery

_NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crops:
    """Image files under `root`, of the size of `contract`."""

    root: Path
    contract: InputContract

    def missing(self, gallery: Gallery) -> NDArray[np.bool_]:
        """(N,) whether there is no crop of a face, or its name is none of a file within the folder."""
        return np.array([not self._holds(face) for face in gallery.faces.tolist()], bool)

    def _holds(self, face: str) -> bool:
        path = PurePosixPath(face)
        inside = not path.is_absolute() and ".." not in path.parts
        return inside and os.path.isfile(self.root / path)  # noqa: PTH113 (of a Path it may raise)

    def read(self, gallery: Gallery, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
        """Images (n, H, W, 3) uint8 RGB of some faces, and the SHA-256 of each file.

        Raises InputError for a crop of another size, and naming those that are not the ones that were enrolled;
        UnreadableImageError for one that is no image.
        """
        images, hashes = [], []
        for face in gallery.faces[rows].tolist():
            data = read_image_bytes(self.root / face)
            hashes.append(hashlib.sha256(data).hexdigest())
            images.append(self._checked(decode_image(data, name=str(self.root / face)), face))
        found = np.array(hashes)
        self.refuse_changed(gallery.faces[rows], gallery.hashes[rows], found)
        return np.stack(images), found

    def hashes(self, faces: Sequence[str]) -> NDArray[np.str_]:
        """SHA-256 of each file. Raises UnreadableImageError."""
        return np.array([hashlib.sha256(read_image_bytes(self.root / face)).hexdigest() for face in faces])

    def refuse_changed(self, faces: NDArray[np.str_], expected: NDArray[np.str_], found: NDArray[np.str_]) -> None:
        """Raise InputError where a hash that is expected (not empty text) is another one."""
        changed = faces[(expected != "") & (expected != found)]
        if len(changed):
            message = (
                f"expected in {self.root} the crops that were enrolled, by their SHA-256, found {len(changed)} others: "
                f"{', '.join(changed[:_NAMED])}; restore them, or enrol these people again"
            )
            raise InputError(message)

    def _checked(self, image: NDArray[np.uint8], face: str) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if (height, width) != (self.contract.height, self.contract.width):
            message = (
                f"expected an aligned crop of {self.contract.height}x{self.contract.width} pixels, as the new model "
                f"takes, in {self.root / face}, found {height}x{width}"
            )
            raise InputError(message)
        return image


def refuse_missing(gallery: Gallery, missing: NDArray[np.bool_], root: Path) -> None:
    """Raise InputError where some of the gallery's crops are not there."""
    if missing.any():
        lost = set(gallery.people[missing]) - set(gallery.people[~missing])
        message = (
            f"expected a crop of each of the gallery's {len(gallery)} faces in {root}, found none of "
            f"{int(missing.sum())}, first {str(gallery.faces[missing][0])!r}; {len(lost)} people have none at all; "
            "--allow-missing goes on without them"
        )
        raise InputError(message)
