"""Drawn faces: the same for the same arguments, aligned to the template, and people who can be told apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from efq.benchmarks.drawn_faces.identity import BEARDS, HAIR_STYLES, Identity, random_identity
from efq.benchmarks.drawn_faces.renderer import draw_face, landmarks
from efq.benchmarks.drawn_faces.view import View, random_view
from efq.runtime.faces.template import ARCFACE_TEMPLATE


def pictures(people: int, each: int, difficulty: float) -> NDArray[np.uint8]:
    generator = np.random.default_rng(7)
    identities = [random_identity(generator) for _ in range(people)]
    views = [[random_view(generator, difficulty) for _ in range(each)] for _ in range(people)]
    return np.stack([[draw_face(one, view) for view in row] for one, row in zip(identities, views, strict=True)])


def test_picture_is_an_aligned_crop_and_the_same_every_time() -> None:
    first, second = (
        draw_face(random_identity(generator), random_view(generator))
        for generator in (np.random.default_rng(3), np.random.default_rng(3))
    )
    assert first.shape == (112, 112, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


def test_arguments_are_not_changed_by_drawing_another_view() -> None:
    identity = random_identity(np.random.default_rng(5))
    before = draw_face(identity, View())
    draw_face(identity, View(yaw=25, mouth_open=1.0, smile=-0.4))
    np.testing.assert_array_equal(draw_face(identity, View()), before)


def test_average_face_lies_on_the_template() -> None:
    np.testing.assert_allclose(landmarks(Identity(), View()), ARCFACE_TEMPLATE, atol=0.2)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_landmarks_of_anyone_stay_near_the_template(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found = landmarks(random_identity(generator), random_view(generator, difficulty=0.0))
    assert np.abs(found - ARCFACE_TEMPLATE).max() < 6.0


@pytest.mark.parametrize(("yaw", "moves"), [(25.0, 1), (-25.0, -1)])
def test_yaw_moves_the_nose_against_the_eyes(yaw: float, moves: int) -> None:
    frontal, turned = landmarks(Identity(), View()), landmarks(Identity(), View(yaw=yaw))
    shift = (turned[2, 0] - turned[:2, 0].mean()) - (frontal[2, 0] - frontal[:2, 0].mean())
    assert moves * shift > 3.0


def test_pupils_are_where_the_eye_landmarks_say() -> None:
    identity = Identity(eye_color=(20, 20, 20), skin=(240, 205, 180))
    for view in (View(), View(yaw=18), View(pitch=8), View(roll=6, offset=(2.0, -1.0))):
        face = draw_face(identity, view).astype(np.float64).mean(axis=2)
        for x, y in landmarks(identity, view)[:2]:
            column, row = round(float(x)), round(float(y))
            assert face[row - 1 : row + 2, column - 1 : column + 2].min() < 70.0


def test_lamp_brightens_the_side_it_is_on() -> None:
    left, right = (draw_face(Identity(), View(light=(azimuth, 10.0), contrast=0.7)) for azimuth in (-60.0, 60.0))
    cheeks = slice(60, 85), slice(24, 44), slice(68, 88)
    for face, brighter, darker in ((left, cheeks[1], cheeks[2]), (right, cheeks[2], cheeks[1])):
        assert face[cheeks[0], brighter].mean() > face[cheeks[0], darker].mean() + 15


@pytest.mark.parametrize("style", HAIR_STYLES)
def test_every_hair_style_is_its_own(style: str) -> None:
    crown = {
        other: draw_face(dataclasses.replace(Identity(hair_color=(20, 20, 20)), hair_style=other), View())[:48]
        for other in HAIR_STYLES
    }
    differences = [np.abs(crown[style].astype(float) - crown[other]).mean() for other in HAIR_STYLES if other != style]
    assert min(differences) > 1.0


def test_beards_and_glasses_show() -> None:
    plain = draw_face(Identity(), View()).astype(np.float64)
    for identity in [Identity(beard=beard) for beard in BEARDS if beard != "none"] + [Identity(glasses=True)]:
        assert np.abs(draw_face(identity, View()) - plain).mean() > 0.5


def test_people_differ_more_than_portraits_of_one() -> None:
    faces = pictures(24, 2, difficulty=0.15)[:, :, 8:, 16:96].reshape(24, 2, -1).astype(np.float64)
    faces -= faces.mean(axis=2, keepdims=True)
    faces /= np.linalg.norm(faces, axis=2, keepdims=True)
    similarity = faces[:, 0] @ faces[:, 1].T
    assert np.diag(similarity).mean() > similarity[~np.eye(24, dtype=bool)].mean() + 0.15
    assert (similarity.argmax(axis=1) == np.arange(24)).mean() > 0.7


def test_snapshots_are_too_hard_for_pixels() -> None:
    """A network has something to learn: the nearest picture by pixels is often another person's."""
    faces = pictures(24, 2, difficulty=1.0).reshape(24, 2, -1).astype(np.float64)
    faces -= faces.mean(axis=2, keepdims=True)
    faces /= np.linalg.norm(faces, axis=2, keepdims=True)
    similarity = faces[:, 0] @ faces[:, 1].T
    assert (similarity.argmax(axis=1) == np.arange(24)).mean() < 0.7
