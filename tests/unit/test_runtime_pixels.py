from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming
from numpy.typing import NDArray

from efq.benchmarks.drawn_faces.batch import drawn_faces
from efq.runtime import InputError
from efq.runtime.faces.pixels import check_pixels

FACES = drawn_faces(3)
FLOATS = FACES.astype(np.float64)


@pytest.mark.parametrize(
    "pixels",
    [
        FLOATS / 255,
        np.round(FLOATS / 255),
        (FLOATS - 127.5) / 128,
        np.round((FLOATS - 127.5) / 127.5),
        np.round((FLOATS / 255 - 0.45) / 0.225),
    ],
    ids=["0..1", "0..1 rounded", "-1..1", "-1..1 rounded", "mean and std"],
)
def test_normalized_pixels_are_refused_however_they_became_integers(pixels: NDArray[np.float64]) -> None:
    with raises_naming(InputError, "images 0, 1, 2"):
        check_pixels(pixels.astype(np.int8).astype(np.uint8))


@given(st.integers(0, 255), st.integers(0, 9))
def test_one_value_is_no_picture(value: int, noise: int) -> None:
    blank = np.clip(value + np.arange(112 * 112 * 3).reshape(112, 112, 3) % (noise + 1), 0, 255).astype(np.uint8)
    with raises_naming(InputError, "image 1", 3, blank.min(), blank.max()):
        check_pixels(np.stack([FACES[0], blank, FACES[1]]))


def test_a_speck_makes_no_picture() -> None:
    crop = np.zeros((1, 112, 112, 3), np.uint8)
    crop[:, :20, :20] = FACES[0, :20, :20]
    with raises_naming(InputError, "nobody.png"):
        check_pixels(crop, ["nobody.png"])


def test_names_of_many_are_counted() -> None:
    with raises_naming(InputError, "a", "e", 3) as caught:
        check_pixels(np.zeros((8, 112, 112, 3), np.uint8), list("abcdefgh"))
    assert " f," not in str(caught.value)


def test_faces_pass_as_they_are_dark_bright_gray_small_or_none() -> None:
    faces = FACES
    for picture in (
        faces,
        faces // 6,
        255 - faces // 6,
        faces[:, :, :, :1].repeat(3, 3),
        faces[:, 40:72, 40:72],
        faces[:0],
    ):
        check_pixels(picture)
