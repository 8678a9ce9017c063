"""What a request brings as pictures, made aligned faces."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.detection.photo_faces import PhotoReader
from efq.runtime.errors import InputError, UsageError
from efq.runtime.faces.alignment import align
from efq.runtime.faces.images import decode_image
from efq.runtime.faces.pixels import check_pixels
from efq.runtime.faces.templates import contract_points
from efq.runtime.service.errors import ApiError, api_error

ImageInput = Literal["crop", "photo"]
Take = Literal["largest", "single"]
TAKES: tuple[Take, ...] = typing.get_args(Take)
LEAST_FACE_SIDE = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class RequestImage:
    """data: of a file. landmarks: five of x and y in its pixels, as it is shown. name: where it stood, for messages."""

    data: bytes
    name: str
    landmarks: Sequence[Sequence[float]] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AlignedFace:
    """crop: uint8 (H, W, 3), RGB, of the contract's size. found: what is said of it beside that, for JSON."""

    crop: NDArray[np.uint8]
    found: dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FaceReader:
    """Decodes, finds and aligns; called from the threads of a pool. pixels: the most of an image."""

    contract: InputContract
    pixels: int
    photos: PhotoReader | None = None

    def __call__(self, image: RequestImage, kind: ImageInput | None, take: Take = "largest") -> AlignedFace:
        """The face of an image. kind None: a photo with landmarks; else a crop where it has the contract's size.

        Raises ApiError, of 422, for everything that is not so.
        """
        try:
            picture = decode_image(image.data, name=image.name, most_pixels=self.pixels)
            found = self._face(picture, image, kind, take)
            check_pixels(found.crop[np.newaxis], [image.name])
        except (InputError, UsageError) as error:
            raise api_error(error) from error
        return found

    def _face(
        self, picture: NDArray[np.uint8], image: RequestImage, kind: ImageInput | None, take: Take
    ) -> AlignedFace:
        fits = picture.shape[:2] == (self.contract.height, self.contract.width)
        if kind == "crop" or (kind is None and image.landmarks is None and (fits or self.photos is None)):
            return self._crop(picture, image, fits)
        if image.landmarks is not None:
            return self._by_landmarks(picture, image)
        return self._detected(picture, image, take)

    def _crop(self, picture: NDArray[np.uint8], image: RequestImage, fits: bool) -> AlignedFace:
        height, width = picture.shape[:2]
        if image.landmarks is not None:
            message = f"expected no landmarks of a crop, which is aligned, found some in {image.name}"
            raise ApiError(422, "invalid_request", message)
        if not fits:
            message = (
                f"expected an aligned face of {self.contract.height}x{self.contract.width} pixels in {image.name}, "
                f"found {height}x{width}; send its five landmarks, or a photo to a service with a detector"
            )
            raise ApiError(422, "not_a_crop", message)
        return AlignedFace(crop=picture, found={"input": "crop"})

    def _by_landmarks(self, picture: NDArray[np.uint8], image: RequestImage) -> AlignedFace:
        contract_points(self.contract)
        points = np.asarray(image.landmarks, np.float64)
        try:
            crop = align(picture, points, contract=self.contract)
        except InputError as error:
            raise ApiError(422, "bad_landmarks", f"{image.name}: {error}") from error
        height, width = picture.shape[:2]
        return AlignedFace(crop=crop, found={"input": "landmarks", "photo_size": [width, height]})

    def _detected(self, picture: NDArray[np.uint8], image: RequestImage, take: Take) -> AlignedFace:
        if self.photos is None:
            message = f"expected five landmarks of the photo {image.name}: this service has no detector to find them"
            raise ApiError(422, "no_detector", message)
        faces = self.photos.faces_of(picture)
        if take == "single" and faces.found > 1:
            message = f"expected a single face in {image.name}, found {faces.found}"
            raise ApiError(422, "several_faces", message)
        if not faces.taken:
            message = f"expected a face in {image.name}, found: {'; '.join(faces.left_out)}"
            raise ApiError(422, "no_face", message)
        face = faces.taken[0]
        return AlignedFace(
            crop=face.image,
            found={
                "input": "detected",
                "photo_size": list(face.photo_size),
                "box": _rounded(face.box),
                "score": round(face.score, 4),
                "landmarks": [_rounded(point) for point in face.landmarks],
                "found": faces.found,
            },
        )


def _rounded(values: NDArray[np.float32]) -> list[float]:
    return [round(float(value), 2) for value in values]
