from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime import InputContract, InputError, UsageError, align
from efq.runtime.faces.landmark_fit import check_turn, residual
from efq.runtime.faces.orientation import stored, upright
from efq.runtime.faces.template import ARCFACE_TEMPLATE, similarity_transform
from efq.runtime.faces.templates import contract_points, usual_alignment

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


def insightface_points(image_size: int) -> NDArray[np.float64]:
    """The rule of `estimate_norm` in InsightFace's face_align.py: multiples of 112, or of 128 moved to the right."""
    ratio, shift = (image_size / 112, 0.0) if image_size % 112 == 0 else (image_size / 128, 8 * image_size / 128)
    return ARCFACE_TEMPLATE * ratio + np.array((shift, 0.0))


@pytest.mark.parametrize("size", [112, 128, 224, 256])
def test_squares_are_cut_as_insightface_cuts_them(size: int, picture: NDArray[np.uint8]) -> None:
    contract = InputContract(height=size, width=size, alignment=usual_alignment(size, size))
    np.testing.assert_allclose(contract_points(contract), insightface_points(size), atol=1e-5)
    large = np.tile(picture, (3, 3, 1))
    found = align(large, insightface_points(size) + np.array((30, 20)), contract=contract)
    np.testing.assert_array_equal(found, large[20 : 20 + size, 30 : 30 + size])


def test_a_narrow_crop_has_eight_columns_fewer_at_each_side(picture: NDArray[np.uint8]) -> None:
    contract = InputContract(height=112, width=96, alignment=usual_alignment(112, 96))
    points = ARCFACE_TEMPLATE + np.array((30, 20))
    np.testing.assert_array_equal(align(picture, points, contract=contract), align(picture, points)[:, 8:104])
    np.testing.assert_array_equal(align(picture, [points, points], contract=contract).shape, (2, 112, 96, 3))


def test_the_template_in_any_square_is_that_of_a_size(picture: NDArray[np.uint8]) -> None:
    contract = InputContract(height=160, width=160, alignment="arcface-scaled")
    np.testing.assert_array_equal(
        align(picture, ARCFACE_TEMPLATE, contract=contract), align(picture, ARCFACE_TEMPLATE, 160)
    )


@pytest.mark.parametrize(
    ("height", "width", "alignment"),
    [(160, 160, "custom"), (160, 160, "arcface-112"), (96, 112, "arcface-112x96"), (112, 112, "dlib")],
)
def test_faces_that_no_landmarks_align_are_refused(
    height: int, width: int, alignment: str, picture: NDArray[np.uint8]
) -> None:
    contract = InputContract(height=height, width=width, alignment=alignment)
    with raises_naming(UsageError, f"{height}x{width}", alignment, "arcface-112x96"):
        align(picture, ARCFACE_TEMPLATE, contract=contract)


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


def test_of_several_faces_the_one_that_is_refused_is_named(picture: NDArray[np.uint8]) -> None:
    landmarks = np.stack([TEMPLATE, TEMPLATE + np.array((30, 20)), TEMPLATE + np.array((300, 0))])
    with raises_naming(InputError, "face 2 of 3", "300x240"):
        align(picture, landmarks)


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
        (TEMPLATE * 1e9, ("(5, 2)", "1,000,000")),
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


# A face half in profile, and one of the front turned by 30 degrees; both were detected on photos.
PROFILE = np.array([(62.0, 55.0), (68.0, 54.0), (80.0, 72.0), (58.0, 92.0), (63.0, 92.0)])
TURNED = np.array([(102.0, 70.5), (137.5, 92.0), (107.0, 98.5), (82.0, 107.0), (110.5, 124.0)])
EXCHANGED = [1, 0, 2, 4, 3]
AROUND = np.array((100.0, 60.0))


@pytest.mark.parametrize("points", [TEMPLATE + AROUND, PROFILE, TURNED], ids=["front", "profile", "turned"])
def test_faces_pass(picture: NDArray[np.uint8], points: NDArray[np.float64]) -> None:
    align(picture, points)


@pytest.mark.parametrize("points", [TEMPLATE + AROUND, TURNED], ids=["front", "turned"])
@pytest.mark.parametrize(
    ("misread", "fact"),
    [
        (lambda points: points[EXCHANGED], "left and right exchanged"),
        (lambda points: points[:, ::-1], "y before x"),
        (lambda points: points.T.reshape(5, 2), "x1 to x5, then y1 to y5"),
        (lambda points: points[:, ::-1].T.reshape(5, 2), "y1 to y5, then x1 to x5"),
        (lambda points: points * (-1, 1) + (299, 0), "left and right exchanged"),
        (lambda points: points[[2, 0, 1, 3, 4]], "nose, left eye, right eye, left mouth corner, right mouth corner"),
        (lambda points: points[[0, 1, 2, 4, 3]], "left eye, right eye, nose, right mouth corner, left mouth corner"),
    ],
)
def test_another_order_is_refused_and_named(
    picture: NDArray[np.uint8],
    points: NDArray[np.float64],
    misread: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    fact: str,
) -> None:
    with raises_naming(InputError, fact):
        align(picture, misread(points))


@given(st.integers(0, 2**32 - 1))
def test_the_residual_is_that_of_the_least_squares_fit(seed: int) -> None:
    points = TEMPLATE + np.random.default_rng(seed).normal(scale=20, size=(5, 2))
    transform = umeyama(points, TEMPLATE)
    left = points @ transform[:, :2].T + transform[:, 2] - TEMPLATE
    expected = np.sqrt((left**2).sum(axis=1).mean())
    np.testing.assert_allclose(residual(points), expected, atol=1e-6)
    np.testing.assert_allclose(residual(points * 7 + 100), expected, atol=1e-6)


def test_points_outside_are_refused_and_some_are_not(picture: NDArray[np.uint8]) -> None:
    align(picture, TEMPLATE - (56, 0))  # half a face, at the edge
    for points in (TEMPLATE - np.array((80, 0)), TEMPLATE * 4, TEMPLATE + np.array((300, 0)), -TEMPLATE):
        with raises_naming(InputError, "300x240", "image_size"):
            align(picture, points)


def test_landmarks_of_the_picture_at_another_size(picture: NDArray[np.uint8]) -> None:
    points = TEMPLATE + AROUND
    expected = align(picture, points)
    np.testing.assert_array_equal(align(picture, points, image_size=(300, 240)), expected)
    half = (points + 0.5) / 2 - 0.5
    np.testing.assert_allclose(align(picture, half, image_size=(150, 120)), expected, atol=1)
    np.testing.assert_allclose(align(picture, half.tolist(), image_size=np.array((150, 120))), expected, atol=1)
    align(picture, half, image_size=(150, 119))  # rounded
    for size, fact in (((640, 640), "640x640"), ((240, 300), "--no-exif-orientation"), ((0, 0), "(0, 0)"), (7, 7)):
        with raises_naming(InputError, fact, "image_size"):
            align(picture, points, image_size=size)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_landmarks_of_the_picture_as_stored_are_told_from_those_of_the_one_shown(orientation: int) -> None:
    places = np.round(TEMPLATE + AROUND).astype(int)
    shown = np.zeros((200, 300, 3), np.uint8)
    for number, (x, y) in enumerate(places, start=1):
        shown[y, x] = number
    on_file = np.array([np.argwhere(stored(shown, orientation)[..., 0] == number)[0][::-1] for number in range(1, 6)])
    np.testing.assert_array_equal(upright(stored(shown, orientation), orientation), shown)
    if orientation in (2, 4, 5, 7):  # mirrored: a detector finds the right eye on the left
        on_file = on_file[EXCHANGED]
    check_turn(places.astype(np.float64), orientation)
    if orientation <= 2:
        check_turn(on_file.astype(np.float64), orientation)
    else:
        with raises_naming(InputError, f"orientation {orientation}", "--no-exif-orientation"):
            check_turn(on_file.astype(np.float64), orientation)


@pytest.mark.parametrize("size", [0, -1, 10**6, 1.5, "112", True])
def test_other_sizes_are_refused(picture: NDArray[np.uint8], size: object) -> None:
    with raises_naming(InputError, repr(size)):
        align(picture, TEMPLATE, size)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(112, 112), (112, 112, 4), (0, 10, 3), (1, 112, 112, 3), (1, 40_000, 3)])
def test_images_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with raises_naming(InputError, "uint8", "(H, W, 3)", shape):
        align(np.zeros(shape, np.uint8), ARCFACE_TEMPLATE)


def test_float_images_are_refused(picture: NDArray[np.uint8]) -> None:
    with raises_naming(InputError, "uint8", "float64"):
        align(picture / 255, ARCFACE_TEMPLATE)
