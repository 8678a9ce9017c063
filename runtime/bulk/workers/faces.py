"""The faces of one listed image, aligned, with what is known of each."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.bulk.listing.listed import ListedImage
from efq.runtime.bulk.parquet import FaceRow
from efq.runtime.detection.photo_faces import PhotoReader
from efq.runtime.errors import InputError, UnreadableImageError
from efq.runtime.faces.aligner import SeenLandmarks
from efq.runtime.faces.alignment import align
from efq.runtime.faces.images import check_face_size, decode_image, image_orientation, read_image_bytes
from efq.runtime.faces.landmark_fit import check_turn
from efq.runtime.faces.pixels import check_pixels
from efq.runtime.gallery.gallery import is_name


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ImageFaces:
    """The faces of an image: a row each, and the faces, uint8 (H, W, 3), RGB; what is seen of landmarks of a list."""

    rows: list[FaceRow]
    faces: list[NDArray[np.uint8]]
    seen: SeenLandmarks | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class FaceReader:
    """Reads images; may be called from several threads at once.

    base: the folder that relative paths start at. photos: finds the faces of a photo, None for images that are faces,
    or are aligned by the landmarks of the list. has_people: whether `ListedImage.person` says who is on an image.
    exif_orientation: None turns images, and refuses landmarks that seem to be of one as it is stored.
    """

    contract: InputContract
    base: Path
    has_people: bool
    photos: PhotoReader | None
    exif_orientation: bool | None

    def __call__(self, listed: ListedImage) -> ImageFaces:
        """At least one face. Raises InputError for an image that gives none."""
        _check_text(listed.path)
        person = listed.person if self.has_people else ""
        if person and not is_name(person):
            message = f"expected a line of text as the person of {listed.path}, found {person[:100]!a}"
            raise InputError(message)
        data = read_image_bytes(self.base / listed.path)
        image = decode_image(data, name=listed.path, exif_orientation=self.exif_orientation is not False)
        row = FaceRow(path=listed.path, face=0, person=person, sha256=hashlib.sha256(data).hexdigest())
        if self.photos is not None:
            return self._found(self.photos, image, row)
        if listed.landmarks:
            return self._aligned(listed, data, image, row)
        check_face_size(image, self.contract, listed.path)
        check_pixels(image[None], [listed.path])
        return ImageFaces(rows=[row], faces=[image])

    def _found(self, photos: PhotoReader, image: NDArray[np.uint8], row: FaceRow) -> ImageFaces:
        found = photos.faces_of(image)
        if not found.taken:
            message = f"expected a face in the photo {row.path}, found: {'; '.join(found.left_out)}"
            raise UnreadableImageError(message)
        rows = [
            dataclasses.replace(row, face=place, box=face.box, score=face.score, landmarks=face.landmarks.reshape(-1))
            for place, face in enumerate(found.taken)
        ]
        return ImageFaces(rows=rows, faces=[face.image for face in found.taken])

    def _aligned(self, listed: ListedImage, data: bytes, image: NDArray[np.uint8], row: FaceRow) -> ImageFaces:
        try:
            numbers = [float(text) for text in listed.landmarks]
            if not all(map(math.isfinite, numbers)):
                raise ValueError
        except ValueError as error:
            found = ",".join(listed.landmarks)[:200]
            message = f"expected finite numbers as the landmarks of {listed.path}, found {found}"
            raise InputError(message) from error
        points = np.array(numbers[:10]).reshape(5, 2)
        size = (int(numbers[10]), int(numbers[11])) if len(numbers) > 10 else None
        try:
            if self.exif_orientation is None:
                check_turn(points, image_orientation(data, name=listed.path))
            face = align(image, points, contract=self.contract, image_size=size)
        except InputError as error:
            message = f"{listed.path}: {error}"
            raise InputError(message) from error
        check_pixels(face[None], [listed.path])
        seen = SeenLandmarks()
        seen.add(points, image.shape, size_is_known=size is not None)
        row = dataclasses.replace(row, landmarks=points.reshape(-1).astype(np.float32))
        return ImageFaces(rows=[row], faces=[face], seen=seen)


def _check_text(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        message = f"expected a name in UTF-8, as Parquet files hold them, found {path[:200]!a}; rename the file"
        raise UnreadableImageError(message) from error
