"""Faces of image files by a file of landmarks: what one picture shows to be wrong, and what only ten do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import FACE, image_file
from messages import names, raises_naming
from numpy.typing import NDArray
from PIL import Image

from efq.runtime import InputContract, InputError, UsageError
from efq.runtime.faces.aligner import Aligner
from efq.runtime.faces.orientation import stored
from efq.runtime.faces.template import ARCFACE_TEMPLATE

WIDTH, HEIGHT = 300, 200
POINTS = ARCFACE_TEMPLATE.astype(np.float64) + np.array((150, 50))
PICTURE = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
PICTURE[50:162, 150:262] = FACE
Change = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def turned_left(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where they lie on a picture of this width turned by a quarter."""
    return np.stack([points[:, 1], WIDTH - 1 - points[:, 0]], axis=1)


def folder_of(tmp_path: Path, count: int, change: Change, size: str = "") -> list[Path]:
    """Pictures of one face, and landmarks.csv with their landmarks, changed."""
    paths = [tmp_path / f"{index}.png" for index in range(count)]
    header = "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5" + (",image_width,image_height" if size else "")
    row = ",".join(map(str, change(POINTS).ravel())) + size
    (tmp_path / "landmarks.csv").write_text("\n".join([header, *(f"{path},{row}" for path in paths)]))
    for path in paths:
        path.write_bytes(image_file("png", PICTURE))
    return paths


def aligned(tmp_path: Path, paths: list[Path], exif_orientation: bool | None = None) -> NDArray[np.uint8]:
    aligner = Aligner(tmp_path / "landmarks.csv", InputContract(), exif_orientation)
    faces = [aligner(path) for path in paths]
    aligner.check_all()
    return np.stack(faces)


def test_faces_come_back(tmp_path: Path) -> None:
    faces = aligned(tmp_path, folder_of(tmp_path, 10, lambda points: points))
    assert all(np.abs(face.astype(int) - FACE).max() <= 1 for face in faces)


def test_faces_come_as_the_artifact_takes_them(tmp_path: Path) -> None:
    path = folder_of(tmp_path, 1, lambda points: points)[0]
    narrow = InputContract(height=112, width=96, alignment="arcface-112x96")
    face = Aligner(tmp_path / "landmarks.csv", narrow)(path)
    assert face.shape == (112, 96, 3)
    assert np.abs(face.astype(int) - FACE[:, 8:104]).max() <= 1


def test_ten_pictures_show_that_landmarks_are_of_smaller_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def half(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return (points + 0.5) / 2 - 0.5

    aligned(tmp_path, folder_of(tmp_path, 2, half))
    assert not caplog.text
    aligned(tmp_path, folder_of(tmp_path, 9, half))
    names(caplog.text, tmp_path / "landmarks.csv", "image_width", 9)
    with raises_naming(InputError, tmp_path / "landmarks.csv", "image_width", 10):
        aligned(tmp_path, folder_of(tmp_path, 10, half))
    faces = aligned(tmp_path, folder_of(tmp_path, 10, half, size=f",{WIDTH // 2},{HEIGHT // 2}"))
    assert np.abs(faces[0].astype(int) - FACE).max() <= 1
    aligned(tmp_path, folder_of(tmp_path, 10, lambda points: points - (128, 30), size=f",{WIDTH},{HEIGHT}"))


def test_ten_faces_that_all_lie_have_to_be_confirmed(tmp_path: Path) -> None:
    path = folder_of(tmp_path, 1, turned_left)[0]
    Image.fromarray(np.rot90(PICTURE)).save(path)
    paths = [path] * 10
    with raises_naming(InputError, tmp_path / "landmarks.csv", "--exif-orientation", 10):
        aligned(tmp_path, paths)
    assert np.abs(aligned(tmp_path, paths[:9])[0].astype(int) - FACE).max() <= 1
    assert np.abs(aligned(tmp_path, paths, exif_orientation=True)[9].astype(int) - FACE).max() <= 1


def test_landmarks_of_a_phone_photo_as_it_is_stored(tmp_path: Path) -> None:
    path = folder_of(tmp_path, 1, turned_left)[0]
    exif = Image.Exif()
    exif[274] = 6
    path.write_bytes(image_file("png", np.ascontiguousarray(stored(PICTURE, 6)), exif=exif))
    with raises_naming(InputError, path, "--no-exif-orientation", 6):
        aligned(tmp_path, [path])
    assert np.abs(aligned(tmp_path, [path], exif_orientation=False)[0].astype(int) - FACE).max() <= 1
    folder_of(tmp_path, 0, lambda points: points)
    (tmp_path / "landmarks.csv").write_text(f"{path}," + ",".join(map(str, POINTS.ravel())))
    assert np.abs(aligned(tmp_path, [path])[0].astype(int) - FACE).max() <= 1


def test_a_picture_without_landmarks_and_another_alignment(tmp_path: Path) -> None:
    folder_of(tmp_path, 1, lambda points: points)
    with raises_naming(InputError, tmp_path / "other.png", tmp_path / "landmarks.csv"):
        aligned(tmp_path, [tmp_path / "other.png"])
    with raises_naming(UsageError, "160x160", "arcface-112"):
        Aligner(tmp_path / "landmarks.csv", InputContract(height=160, width=160))


@pytest.mark.parametrize("change", [lambda points: points[:, ::-1], lambda points: points * 4], ids=["y, x", "larger"])
def test_landmarks_that_do_not_fit_name_their_picture(tmp_path: Path, change: Change) -> None:
    paths = folder_of(tmp_path, 1, change)
    with raises_naming(InputError, paths[0]):
        aligned(tmp_path, paths)
