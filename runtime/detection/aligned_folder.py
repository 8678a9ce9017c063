"""A folder of aligned faces, with the landmarks of each and what was left out."""

from __future__ import annotations

import collections
import csv
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.detection.photo_faces import PhotoFace, PhotoFaces
from efq.runtime.errors import InputError

if TYPE_CHECKING:
    from _csv import Writer

LANDMARKS, LEFT_OUT = "landmarks.csv", "left-out.csv"

_LONGEST_NAME = 255 - len("_5000.png")  # of what file systems take
_POINTS = tuple(f"{axis}{point}" for point in range(1, 6) for axis in "xy")
_LANDMARK_COLUMNS = ("path", *_POINTS, "image_width", "image_height", "score", "box_x1", "box_y1", "box_x2", "box_y2")
_COLUMNS = {LANDMARKS: (*_LANDMARK_COLUMNS, "face"), LEFT_OUT: ("path", "reason")}


class AlignedFolder:
    """Writes faces as PNG files under `root`, a new folder, and the two tables beside them.

    landmarks.csv has a row a face: its photo, the five points, the size of the photo, score and box, and its file.
    left-out.csv has a row for each photo or face that was left out, with the reason. Paths are relative.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: set[str] = set()
        self.faces = self.photos_without = self.left_out = 0
        self.first_reason = ""

    def __enter__(self) -> Self:
        self._files = {
            name: (self._root / name).open("w", newline="", encoding="utf-8", errors="surrogateescape")
            for name in _COLUMNS
        }
        self._tables: dict[str, Writer] = {name: csv.writer(file) for name, file in self._files.items()}
        for name, columns in _COLUMNS.items():
            self._tables[name].writerow(columns)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    @staticmethod
    def names_of(paths: Sequence[str]) -> dict[str, str]:
        """For each photo the file that its face gets, without a suffix: the photo's, or all of its name.

        All of it where two photos would have one file, a.jpg and a.png in one folder, or a folder is called like it.
        Raises InputError for photos whose faces can have no file: of a name too long, or beside folders of their names.
        """
        stems = {path: str(PurePosixPath(path).with_suffix("")) for path in paths}
        folders = {str(folder).casefold() for path in paths for folder in PurePosixPath(path).parents}
        count = collections.Counter(name.casefold() for name in (*stems.values(), *paths))
        names = {}
        for path, stem in stems.items():
            is_alone = count[stem.casefold()] == 1 and f"{stem}.png".casefold() not in folders
            names[path] = stem if is_alone else path
            too_long = len(os.fsencode(PurePosixPath(names[path]).name)) > _LONGEST_NAME
            if too_long or f"{names[path]}.png".casefold() in folders:
                found = "a longer one" if too_long else "a folder of the name that its face would get"
                message = (
                    f"expected a name of at most {_LONGEST_NAME} bytes of the photo {path}, found {found}; rename it"
                )
                raise InputError(message)
        if folders & set(_COLUMNS):
            message = f"expected photos in folders that are not called {' or '.join(_COLUMNS)}, found some; rename them"
            raise InputError(message)
        return names

    def add(self, path: str, name: str, found: PhotoFaces, *, numbered: bool) -> None:
        """Write the faces of the photo `path` as `name`.png, or as `name`_1.png and so on when `numbered`."""
        for place, face in enumerate(found.taken, start=1):
            file = f"{name}_{place}.png" if numbered else f"{name}.png"
            self._write(file, face.image)
            self._tables[LANDMARKS].writerow((path, *_numbers(face), file))
        self.faces += len(found.taken)
        for reason in found.left_out:
            self._leave_out(path, reason)
        self.photos_without += not found.taken

    def leave_out(self, path: str, reason: str) -> None:
        """Write that the photo `path` was left out."""
        self._leave_out(path, reason)
        self.photos_without += 1

    def _leave_out(self, path: str, reason: str) -> None:
        self._tables[LEFT_OUT].writerow((path, reason))
        self.first_reason = self.first_reason or f"{path}: {reason}"
        self.left_out += 1

    def _write(self, file: str, image: NDArray[np.uint8]) -> None:
        import cv2

        folder = file.rpartition("/")[0]
        if folder not in self._folders:
            (self._root / folder).mkdir(parents=True, exist_ok=True)
            self._folders.add(folder)
        encoded = cv2.imencode(".png", image[:, :, ::-1])[1]
        (self._root / file).write_bytes(encoded.tobytes())


def _numbers(face: PhotoFace) -> tuple[str | int, ...]:
    points = [f"{value:.2f}" for value in face.landmarks.reshape(-1)]
    box = [f"{value:.1f}" for value in face.box]
    return (*points, *face.photo_size, f"{face.score:.4f}", *box)
