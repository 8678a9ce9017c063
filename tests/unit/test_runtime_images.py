from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from artifacts import random_faces
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime import InputContract, InputError, UnreadableImageError
from efq.runtime.faces.images import decode_image, read_face, read_faces, read_image

FACE = random_faces(1)[0]
PNG = cv2.imencode(".png", FACE[:, :, ::-1])[1].tobytes()
JPEG = cv2.imencode(".jpg", FACE[:, :, ::-1])[1].tobytes()


def test_png_gives_its_pixels_in_rgb(tmp_path: Path) -> None:
    (tmp_path / "face.png").write_bytes(PNG)
    image = read_image(tmp_path / "face.png")
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, FACE)


def test_gray_and_alpha_files_become_three_channels(tmp_path: Path) -> None:
    gray = FACE[:, :, 0]
    cv2.imwrite(str(tmp_path / "gray.png"), gray)
    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.repeat(gray[:, :, None], 3, axis=2))
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([FACE, gray]))
    assert read_image(tmp_path / "alpha.png").shape == (112, 112, 3)


@given(st.sampled_from([PNG, JPEG]), st.floats(0, 1, exclude_max=True))
def test_a_truncated_file_is_unreadable_wherever_it_ends(data: bytes, fraction: float) -> None:
    with raises_naming(UnreadableImageError, "face.jpg"):
        decode_image(data[: int(len(data) * fraction)], name="face.jpg")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_image_are_unreadable(data: bytes) -> None:
    with pytest.raises(UnreadableImageError):
        decode_image(data, name="face.jpg")


def test_trailing_bytes_and_an_embedded_thumbnail_do_not_confuse_the_end_of_a_jpeg() -> None:
    thumbnail = cv2.imencode(".jpg", FACE[:8, :8])[1].tobytes()
    application_segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    whole = JPEG[:2] + application_segment + JPEG[2:]
    assert decode_image(whole + b"trailing", name="face").shape == (112, 112, 3)
    with raises_naming(UnreadableImageError, "face"):
        decode_image(whole[:-100], name="face")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with raises_naming(UnreadableImageError, tmp_path / "nobody.jpg"):
        read_image(tmp_path / "nobody.jpg")


def test_read_faces_stacks_and_names_a_face_of_another_size(tmp_path: Path) -> None:
    contract = InputContract()
    (tmp_path / "good.png").write_bytes(PNG)
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((200, 100, 3), np.uint8))
    np.testing.assert_array_equal(read_faces([tmp_path / "good.png"] * 2, contract), np.stack([FACE, FACE]))
    assert read_faces([], contract).shape == (0, 112, 112, 3)
    large = tmp_path / "large.png"
    with raises_naming(InputError, large, "112x112", "200x100", "efq.runtime.align", "--landmarks"):
        read_face(large, contract)
