"""Images of the same pixels."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import names, raises_naming
from networks import draw_faces

from efq.runtime.errors import InputError
from efq.runtime.faces.images import decode_image
from efq.toolchain.data import open_faces
from efq.toolchain.data.duplicates import find_duplicates, pixel_hash

FACES = draw_faces(people=12, each=3)


def write(path: Path, face: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), face[:, :, ::-1])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for place, face in enumerate(FACES):
        write(tmp_path / "faces" / f"p{place // 3:02}" / f"{place % 3}.png", face)
    return tmp_path / "faces"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=20))
def test_groups_are_those_of_every_pair(images: list[tuple[int, int]]) -> None:
    """Against a comparison of each with each."""
    pixels, labels = [str(pixel) for pixel, _ in images], np.array([label for _, label in images], np.int64)
    found = find_duplicates(pixels, labels)
    count = range(len(images))
    others = {i: [j for j in count if pixels[j] == pixels[i] and labels[j] != labels[i]] for i in count}
    assert found.contradictory.tolist() == [i for i in count if others[i]]
    copies = [i for i in count if not others[i] and any(pixels[j] == pixels[i] for j in range(i))]
    assert found.copies.tolist() == copies


def test_the_hash_is_of_pixels_and_of_size() -> None:
    image = FACES[0]
    _, lossless = cv2.imencode(".png", image[:, :, ::-1])
    _, lossy = cv2.imencode(".jpg", image[:, :, ::-1])
    _, again = cv2.imencode(".png", decode_image(lossy.tobytes(), name="x")[:, :, ::-1])
    assert pixel_hash(decode_image(lossless.tobytes(), name="x")) == pixel_hash(image)
    assert pixel_hash(decode_image(lossy.tobytes(), name="x")) == pixel_hash(decode_image(again.tobytes(), name="x"))
    assert pixel_hash(decode_image(lossy.tobytes(), name="x")) != pixel_hash(image)
    assert pixel_hash(image.reshape(56, 224, 3)) != pixel_hash(image)
    assert pixel_hash(image[:, ::-1]) != pixel_hash(image)
    assert pixel_hash(image[:1, :1]) == hashlib.sha256(b"1x1" + image[0, 0].tobytes()).hexdigest()


def test_one_photo_under_two_people_is_left_out_of_both(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(root / "p05" / "stray.png", FACES[3])
    faces = open_faces(root, cache=False)
    assert len(faces) == 35
    assert not {"p01/0.png", "p05/stray.png"} & set(faces.paths)
    assert len(faces.images) == len(faces.labels) == len(faces.hashes) == len(faces.pixel_hashes) == 35
    assert [faces.identities[label] for label in faces.labels] == [path[:3] for path in faces.paths]
    np.testing.assert_array_equal(faces.images[faces.paths.index("p11/2.png")], FACES[35])
    names(caplog.text, 2, root, "p01/0.png", "p05/stray.png")


def test_a_person_of_whom_nothing_is_left_is_no_identity(root: Path) -> None:
    write(root / "q" / "1.png", FACES[3])
    faces = open_faces(root, cache=False)
    assert len(faces.identities) == 12
    assert "q" not in faces.identities


def test_copies_of_one_person_stay_in_training(root: Path) -> None:
    write(root / "p01" / "copy.png", FACES[3])
    assert len(open_faces(root, cache=False)) == 37


def test_many_photos_under_two_people_are_an_error(root: Path) -> None:
    for place in range(0, 12, 3):
        write(root / "other" / f"{place}.png", FACES[place])
    with raises_naming(InputError, root, 8, 40, "p00/0.png", "--identity-level"):
        open_faces(root, cache=False)
