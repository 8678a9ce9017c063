from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.toolchain.data import Augmentation, augment

OFF = Augmentation(
    flip=0.0,
    shift=0.0,
    scale=0.0,
    rotation=0.0,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    gray=0.0,
    low_resolution=0.0,
    blur=0.0,
    cutout=0.0,
)


def images(count: int = 6) -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), np.uint8)
    return np.stack([cv2.resize(image, (112, 112)) for image in noise])


def apply(**changes: float) -> NDArray[np.uint8]:
    return augment(images(), np.random.default_rng(0), dataclasses.replace(OFF, **changes))


def test_nothing_turned_on_changes_nothing() -> None:
    np.testing.assert_array_equal(apply(), images())


def test_mirror_image_is_exact() -> None:
    np.testing.assert_array_equal(apply(flip=1.0), images()[:, :, ::-1])


def test_gray_has_the_luminance_in_every_channel() -> None:
    expected = images().astype(np.float64) @ [0.299, 0.587, 0.114]
    assert np.abs(apply(gray=1.0) - expected[..., None]).max() <= 1.0


def test_brightness_and_contrast_stay_within_their_amounts() -> None:
    before = images().astype(np.float64)
    after = apply(brightness=0.1)
    shifts = np.array([np.median(a - b) for a, b in zip(after, before, strict=True)])
    assert 1.0 < np.abs(shifts).max() <= 25.5 + 1.0
    after = apply(contrast=0.2)
    assert np.abs(after - before).max() <= 0.2 * 127.5 + 1.0


def test_geometry_keeps_the_content() -> None:
    before = images().astype(np.float64)
    after = apply(shift=2.0, scale=0.02, rotation=2.0)
    middle = slice(20, -20)
    for a, b in zip(after, before, strict=True):
        assert np.corrcoef(a[middle, middle].ravel(), b[middle, middle].ravel())[0, 1] > 0.5
        assert not np.array_equal(a, b)


@pytest.mark.parametrize("name", ["low_resolution", "blur"])
def test_loss_of_detail_lowers_the_variance(name: str) -> None:
    for after, before in zip(apply(**{name: 1.0}), images(), strict=True):
        assert after.var() < before.var()


def test_cutout_paints_one_rectangle_of_at_most_its_size() -> None:
    for after, before in zip(apply(cutout=1.0, cutout_size=0.4), images(), strict=True):
        rows, columns = np.nonzero((after != before).any(axis=2))
        assert 0 < np.ptp(rows) + 1 <= 45
        assert 0 < np.ptp(columns) + 1 <= 45
        assert (after[rows, columns] == 127).all()


def test_is_deterministic_and_leaves_the_images_alone() -> None:
    before = images()
    before.flags.writeable = False
    first, second = (augment(before, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, augment(before, np.random.default_rng(8)))
    assert first.dtype == np.uint8
    assert first.shape == before.shape


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"flip": 1.5}, ("flip", 0, 1, 1.5)),
        ({"shift": -1.0}, ("shift", 0, -1.0)),
        ({"smallest_size": 2}, ("smallest_size", 8, 2)),
    ],
)
def test_wrong_amounts_are_errors(changes: dict[str, float], facts: tuple[object, ...]) -> None:
    with raises_naming(UsageError, *facts):
        Augmentation(**changes)  # type: ignore[arg-type]
