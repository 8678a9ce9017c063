"""Sets of faces that hold no pictures."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
from messages import names, raises_naming
from networks import make_faces
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.data import FaceSet
from efq.toolchain.data.pictures import check_pictures

FACES = make_faces(20, 2)


def changed(images: NDArray[np.generic]) -> FaceSet:
    return dataclasses.replace(FACES, images=np.asarray(images, np.uint8))


def test_faces(caplog: pytest.LogCaptureFixture) -> None:
    check_pictures(FACES)
    check_pictures(changed(FACES.images // 4))  # dark, and faces all the same
    check_pictures(make_faces(1, 1))
    assert not caplog.records


@pytest.mark.parametrize(
    "images",
    [
        np.round(FACES.images / 255),
        np.round((FACES.images - 127.5) / 127.5).astype(np.int64) % 256,
        np.full_like(FACES.images, 127),
    ],
    ids=["0..1", "-1..1", "gray"],
)
def test_images_that_were_normalized_or_empty(images: NDArray[np.generic]) -> None:
    with raises_naming(InputError, FACES.paths[0], "40 of 40"):
        check_pictures(changed(images))


def test_copies_of_one_image() -> None:
    with raises_naming(InputError, "40 copies", FACES.paths[0]):
        check_pictures(changed(np.broadcast_to(FACES.images[:1], FACES.images.shape)))


def test_a_few_without_a_picture_are_named(caplog: pytest.LogCaptureFixture) -> None:
    images = FACES.images.copy()
    images[[3, 7]] = 0
    check_pictures(changed(images))
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    names(record.getMessage(), "2 of 40", FACES.paths[3])
    images[:5] = 0
    with raises_naming(InputError, FACES.paths[0], "6 of 40"):
        check_pictures(changed(images))
