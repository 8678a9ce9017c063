"""Images and a file of landmarks to aligned faces."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import flag, path_of
from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.faces.alignment import align
from efq.runtime.faces.images import decode_image, image_orientation, read_image_bytes
from efq.runtime.faces.landmark_columns import SIZE_COLUMNS
from efq.runtime.faces.landmark_fit import check_turn, roll
from efq.runtime.faces.landmarks import read_landmarks
from efq.runtime.faces.templates import contract_points

_logger = logging.getLogger(__name__)
_LEAST_PICTURES = 10  # to refuse; three photos in ten have their largest face in the upper left quarter
_FEW_PICTURES = 3  # to say so
_LEAST_REACH = 0.51  # of landmarks of the picture at half its size or less, a little of them outside
_LYING = 45  # degrees


class SeenLandmarks:
    """What the landmarks of many pictures show together: that they are of other pictures, smaller or turned."""

    def __init__(self) -> None:
        self._count = 0
        self._reach = np.zeros(2)  # the shares of width and height that landmarks of unknown size stay within
        self._least_roll = 180.0

    def add(self, points: NDArray[np.float64], shape: tuple[int, ...], *, size_is_known: bool) -> None:
        """Landmarks (5, 2) on an image of this shape; whether the size of the picture they are of was given."""
        self._count += 1
        self._least_roll = min(self._least_roll, abs(roll(points)))
        self._reach = np.maximum(self._reach, 1 if size_is_known else points.max(axis=0) / shape[1::-1])

    def add_all(self, other: SeenLandmarks) -> None:
        """What another has seen."""
        self._count += other._count
        self._least_roll = min(self._least_roll, other._least_roll)
        self._reach = np.maximum(self._reach, other._reach)

    def check(self, source: str, *, exif_orientation: bool | None) -> None:
        """Raise InputError for landmarks of many pictures that cannot be of these; of few pictures it is logged.

        source: where they are from. exif_orientation: as `Aligner` takes it.
        """
        for message in filter(None, (self._reach_problem(source), self._roll_problem(source, exif_orientation))):
            if self._count >= _LEAST_PICTURES:
                raise InputError(message)
            if self._count >= _FEW_PICTURES:
                _logger.warning("%s", message)

    def _reach_problem(self, source: str) -> str | None:
        """All landmarks are in the upper left of their pictures, as those of smaller pictures are."""
        if (self._reach >= _LEAST_REACH).any():
            return None
        return (
            f"expected landmarks in pixels of the pictures in {source}, found those of {self._count} pictures all "
            f"in their upper left {self._reach[0]:.0%} x {self._reach[1]:.0%}; give the size of the pictures that "
            f"they are of, this or another, in columns {','.join(SIZE_COLUMNS)}"
        )

    def _roll_problem(self, source: str, exif_orientation: bool | None) -> str | None:
        """All faces lie or stand on their heads, as they seem to when their picture was turned."""
        if exif_orientation is not None or self._least_roll <= _LYING:
            return None
        return (
            f"expected landmarks of the pictures as they are shown in {source}, found {self._count} faces all "
            f"turned by {self._least_roll:.0f} degrees or more; give landmarks of the pictures themselves, or "
            "--exif-orientation if the faces do lie in them"
        )


class Aligner:
    """Reads images and aligns their faces, by the landmarks in a file, to the template of an artifact's contract.

    `exif_orientation` None: images are turned as their EXIF record says, and landmarks that seem to be of one as it is
    stored are refused. Raises UsageError for an artifact of faces that are aligned otherwise, InputError for the file.
    """

    def __init__(
        self, landmarks_file: Path | str, contract: InputContract, exif_orientation: bool | None = None
    ) -> None:
        contract_points(contract)
        self._contract = contract
        self._file = path_of(landmarks_file, "a file of landmarks")
        self._landmarks = read_landmarks(self._file)
        self._exif_orientation = None if exif_orientation is None else flag(exif_orientation, "exif_orientation")
        self._seen = SeenLandmarks()

    def __call__(self, path: Path | str) -> NDArray[np.uint8]:
        """The face of an image: uint8 (H, W, 3), RGB. Raises UnreadableImageError, InputError for its landmarks."""
        path = path_of(path, "an image file")
        found = self._landmarks.get(path.resolve())
        if found is None:
            message = f"expected the landmarks of {path} in {self._file}, found none; add a row for it"
            raise InputError(message)
        data = read_image_bytes(path)
        image = decode_image(data, name=str(path), exif_orientation=self._exif_orientation is not False)
        try:
            if self._exif_orientation is None:
                check_turn(found.points, image_orientation(data, name=str(path)))
            face = align(image, found.points, contract=self._contract, image_size=found.image_size)
        except InputError as error:
            message = f"{path}: {error}"
            raise InputError(message) from error
        self._seen.add(found.points, image.shape, size_is_known=found.image_size is not None)
        return face

    def check_all(self) -> None:
        """Check what the landmarks of many pictures show together. Raises InputError; of few pictures it is logged."""
        self._seen.check(str(self._file), exif_orientation=self._exif_orientation)
