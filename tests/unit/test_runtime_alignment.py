from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime import InputError, align
from efq.runtime.faces.template import ARCFACE_TEMPLATE, similarity_transform

TEMPLATE = ARCFACE_TEMPLATE.astype(np.float64)


def umeyama(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Umeyama (1991), equations 34-43, by singular value decomposition: the reference."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, singular, right = np.linalg.svd(covariance)
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = (singular * signs).sum() / (source - source_mean).var(axis=0).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    """A smooth picture, so that interpolation is nearly exact."""
    noise = np.random.default_rng(0).uniform(0, 255, (12, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (300, 240), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def test_a_known_quarter_turn_scale_and_shift() -> None:
    source = np.array([(0, 0), (10, 0), (0, 10), (10, 10), (5, 5)], np.float64)
    # (x, y) -> 2 * (-y, x) + (100, 50)
    target = np.array([(100, 50), (100, 70), (80, 50), (80, 70), (90, 60)], np.float64)
    expected = [[0, -2, 100], [2, 0, 50]]
    np.testing.assert_allclose(similarity_transform(source, target), expected, atol=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_least_squares_are_those_of_umeyama(seed: int) -> None:
    generator = np.random.default_rng(seed)
    source = TEMPLATE + generator.normal(scale=30, size=(5, 2))
    np.testing.assert_allclose(similarity_transform(source, TEMPLATE), umeyama(source, TEMPLATE), atol=1e-8)


def test_mirrored_landmarks_are_never_matched_by_a_reflection() -> None:
    mirrored = TEMPLATE * (-1, 1)
    assert np.linalg.det(similarity_transform(mirrored, TEMPLATE)[:, :2]) > 0


def test_landmarks_on_the_template_crop_the_corner_of_the_image(picture: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(align(picture, ARCFACE_TEMPLATE), picture[:112, :112])
    np.testing.assert_array_equal(align(picture, ARCFACE_TEMPLATE + np.array((30, 20))), picture[20:132, 30:142])


def test_a_face_turned_upside_down_is_turned_back(picture: NDArray[np.uint8]) -> None:
    turned = np.ascontiguousarray(picture[:112, :112][::-1, ::-1])
    np.testing.assert_array_equal(align(turned, 111 - TEMPLATE), picture[:112, :112])


def test_a_scaled_face_gives_nearly_the_same_crop(picture: NDArray[np.uint8]) -> None:
    larger = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    difference = align(larger, (TEMPLATE + 0.5) * 2 - 0.5).astype(int) - picture[:112, :112]
    assert np.abs(difference).mean() < 1


def test_several_faces_and_another_size(picture: NDArray[np.uint8]) -> None:
    landmarks = np.stack([TEMPLATE, TEMPLATE + np.array((30, 20))])
    faces = align(picture, landmarks)
    assert faces.shape == (2, 112, 112, 3)
    np.testing.assert_array_equal(faces[1], align(picture, landmarks[1]))
    assert align(picture, landmarks, size=56).shape == (2, 56, 56, 3)
    assert align(picture, np.empty((0, 5, 2))).shape == (0, 112, 112, 3)


def test_outside_of_the_image_is_black(picture: NDArray[np.uint8]) -> None:
    face = align(picture, TEMPLATE - (56, 0))
    assert not face[:, :55].any()


@pytest.mark.parametrize(
    ("landmarks", "facts"),
    [
        (np.full((5, 2), 40.0), ("pixels", "width", "height")),
        (TEMPLATE / 112, ("pixels", "width", "height")),
        (np.where(TEMPLATE > 90, np.nan, TEMPLATE), ("(5, 2)", "nan")),
        (np.where(TEMPLATE > 90, np.inf, TEMPLATE), ("(5, 2)", "inf")),
        (TEMPLATE[:4], ("(5, 2)", "(N, 5, 2)", "(4, 2)")),
        (TEMPLATE.ravel(), ("(5, 2)", "(N, 5, 2)", "(10,)")),
        ("landmarks", ("(5, 2)", "'landmarks'")),
        ([[1, 2], [3]], ("(5, 2)", "[[1, 2], [3]]")),
    ],
)
def test_landmarks_that_determine_nothing_are_refused(
    picture: NDArray[np.uint8], landmarks: object, facts: tuple[str, ...]
) -> None:
    with raises_naming(InputError, *facts):
        align(picture, landmarks)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(112, 112), (112, 112, 4), (0, 10, 3), (1, 112, 112, 3), (1, 40_000, 3)])
def test_images_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with raises_naming(InputError, "uint8", "(H, W, 3)", shape):
        align(np.zeros(shape, np.uint8), ARCFACE_TEMPLATE)


def test_float_images_are_refused(picture: NDArray[np.uint8]) -> None:
    with raises_naming(InputError, "uint8", "float64"):
        align(picture / 255, ARCFACE_TEMPLATE)
