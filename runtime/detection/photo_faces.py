"""Aligned faces of photos: which of the faces in a photo are taken, and why others are not."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.detection.detections import Detections
from efq.runtime.detection.detector import Detector
from efq.runtime.errors import InputError, UnreadableImageError, UsageError
from efq.runtime.faces.alignment import align
from efq.runtime.faces.images import read_image
from efq.runtime.faces.pixels import check_pixels
from efq.runtime.faces.templates import contract_points

Take = Literal["largest", "single", "all"]
TAKES: tuple[Take, ...] = typing.get_args(Take)

LEAST_SIDE = 20.0
"""Pixels of the shorter side of a face's box: a crop of 112 is then enlarged by more than five."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PhotoFace:
    """A face of a photo. image: uint8 (H, W, 3), RGB, aligned. box (4,), landmarks (5, 2): in pixels of the photo.

    photo_size: width and height of the photo as it is shown.
    """

    image: NDArray[np.uint8]
    box: NDArray[np.float32]
    score: float
    landmarks: NDArray[np.float32]
    photo_size: tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PhotoFaces:
    """What one photo gave: the faces taken, the largest first, and a sentence for each face or photo left out.

    found: how many faces of at least the least side it shows, whichever were taken.
    """

    taken: tuple[PhotoFace, ...]
    left_out: tuple[str, ...]
    found: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class PhotoReader:
    """Finds, chooses and aligns the faces of photos.

    take: the largest face of a photo; its only one, so that a photo of several is left out; or all. min_score: as
    `Detector.detect` takes it. min_side: of the shorter side of a face's box, in pixels of the photo.
    exif_orientation: whether photos are turned as their EXIF record says. Raises UsageError for a contract of faces
    that no five landmarks align.
    """

    detector: Detector
    contract: InputContract
    take: Take = "largest"
    min_score: float | None = None
    min_side: float = LEAST_SIDE
    exif_orientation: bool = True

    def __post_init__(self) -> None:
        contract_points(self.contract)
        if self.take not in TAKES:
            message = f"expected {', '.join(TAKES)} as the faces to take of a photo, found {self.take!r}"
            raise UsageError(message)

    def __call__(self, path: Path) -> PhotoFaces:
        """The faces of the photo at `path`. Raises UnreadableImageError where there is no photo."""
        return self.faces_of(read_image(path, exif_orientation=self.exif_orientation))

    def face(self, path: Path) -> NDArray[np.uint8]:
        """The first face taken of the photo at `path`, aligned. Raises UnreadableImageError where there is none."""
        found = self(path)
        if not found.taken:
            message = f"expected a face in the photo {path}, found: {'; '.join(found.left_out)}"
            raise UnreadableImageError(message)
        return found.taken[0].image

    def faces_of(self, photo: NDArray[np.uint8]) -> PhotoFaces:
        """The faces of a photo, uint8 (H, W, 3), RGB. Raises InputError for another array."""
        found = self.detector.detect(photo, min_score=self.min_score)
        if not len(found):
            return PhotoFaces(taken=(), left_out=("no face was found",))
        large = found.take(found.sides >= self.min_side)
        small = len(found) - len(large)
        left_out = [f"{small} faces smaller than {self.min_side:g} pixels"] if small else []
        if self.take == "single" and len(large) > 1:
            return PhotoFaces(
                taken=(), left_out=(*left_out, f"{len(large)} faces, where one was expected"), found=len(large)
            )
        chosen = _largest_first(large)
        taken = []
        for place in range(min(len(chosen), 1) if self.take == "largest" else len(chosen)):
            try:
                taken.append(self._aligned(photo, chosen.take(np.array([place]))))
            except InputError as error:
                left_out.append(str(error))
        return PhotoFaces(taken=tuple(taken), left_out=tuple(left_out), found=len(large))

    def _aligned(self, photo: NDArray[np.uint8], face: Detections) -> PhotoFace:
        image = align(photo, face.landmarks[0], contract=self.contract)
        check_pixels(image[None])
        return PhotoFace(
            image=image,
            box=face.boxes[0],
            score=float(face.scores[0]),
            landmarks=face.landmarks[0],
            photo_size=(photo.shape[1], photo.shape[0]),
        )


def _largest_first(found: Detections) -> Detections:
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    return found.take(np.argsort(-np.prod(sizes, axis=1), kind="stable"))
