"""Sets on which random vectors do as well, and pairs that are there more than once."""

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
from efq.toolchain.evaluation import EvaluationFaces, evaluate, measure_folds
from efq.toolchain.evaluation.protocols.copies import check_copies, check_repeats, warn_of_near_pairs
from efq.toolchain.evaluation.protocols.validity import check_labels


def unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def pairs_of(genuine: int, impostor: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Pairs of images 2 i and 2 i + 1, the genuine ones first."""
    count = genuine + impostor
    return np.arange(0, 2 * count, 2), np.arange(1, 2 * count, 2), np.arange(count) < genuine


def embeddings_of(same: NDArray[np.bool_], noise: float) -> NDArray[np.float32]:
    """Random vectors; the second of a genuine pair is the first with `noise`."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(2 * len(same), 16))
    second = 1 + 2 * np.flatnonzero(same)
    values[second] = values[second - 1] + noise * generator.normal(size=(len(second), 16))
    return unit(values)


def test_pairs_mostly_of_one_kind_tell_nothing_of_networks_that_know_nothing() -> None:
    first, second, same = pairs_of(960, 40)
    folds = np.arange(1000) % 10
    with raises_naming(InputError, "dev", "96.00"):
        measure_folds("dev", embeddings_of(same, noise=9.0), first, second, same, folds, resamples=0)
    found = measure_folds("dev", embeddings_of(same, noise=0.1), first, second, same, folds, resamples=0)
    assert found.chance == pytest.approx(0.96)
    assert found.accuracy.value > 0.99
    one_of_two = measure_folds(
        "dev",
        embeddings_of(same, noise=9.0),
        first,
        second,
        same,
        folds,
        reference=embeddings_of(same, noise=0.1),
        resamples=0,
    )
    assert one_of_two.accuracy.value < 0.98


def test_balanced_pairs_show_chance_themselves() -> None:
    first, second, same = pairs_of(50, 50)
    vectors = embeddings_of(same, noise=9.0)
    assert measure_folds("dev", vectors, first, second, same, np.arange(100) % 10, resamples=0).chance == 0.5


def test_figures_of_random_vectors_are_named(caplog: pytest.LogCaptureFixture) -> None:
    faces = make_faces(people=30, each=4)
    compared = EvaluationFaces(faces=faces, compared=np.arange(120), pair_lists=())
    generator = np.random.default_rng(0)
    people = unit(generator.normal(size=(30, 16))[faces.labels] + 0.3 * generator.normal(size=(120, 16)))
    networks = {"known": people, "random": unit(generator.normal(size=(120, 16)))}
    found = evaluate(networks, compared, fars=(1e-2,), resamples=0).networks["random"].all_pairs
    assert found is not None
    names(caplog.text, "random", f"{100 * found.rows[0].tar.value:.2f} %")
    assert "known does" not in caplog.text


def test_exchanged_labels_are_refused() -> None:
    first, second, same = pairs_of(50, 50)
    vectors, folds = embeddings_of(same, noise=0.5), np.arange(100) % 10
    assert measure_folds("dev", vectors, first, second, same, folds, resamples=0).accuracy.value > 0.9
    with raises_naming(InputError, "dev", "exchanged"):
        measure_folds("dev", vectors, first, second, ~same, folds, resamples=0)
    random = embeddings_of(same, noise=1e6)
    measure_folds("dev", random, first, second, same, folds, resamples=0)
    measure_folds("dev", random, first, second, ~same, folds, resamples=0)


def test_what_faces_are_warned_of_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    compared = EvaluationFaces(faces=make_faces(people=8, each=3), compared=np.arange(24), pair_lists=())
    compared.check()
    evaluate({"net": unit(np.random.default_rng(0).normal(size=(24, 8)))}, compared, resamples=0)
    assert caplog.text.count("8 identities") == 1


def test_repeated_pairs_count_as_listed_up_to_a_tenth(caplog: pytest.LogCaptureFixture) -> None:
    first, second, same = pairs_of(50, 50)

    def repeated(count: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        again = slice(0, count)  # with both images exchanged
        return np.r_[first, second[again]], np.r_[second, first[again]], np.r_[same, same[again]]

    check_repeats("dev", *repeated(0))
    assert not caplog.text
    check_repeats("dev", *repeated(11))
    names(caplog.text, 11, 111, "dev")
    with raises_naming(InputError, 12, 112, "dev"):
        check_repeats("dev", *repeated(12))
    ends = repeated(1)
    ends[2][-1] ^= True
    with raises_naming(InputError, "dev", "[0, 1]"):
        check_repeats("dev", *ends)


def test_an_image_under_two_people_is_no_impostor() -> None:
    """Neither of the same pixels, nor compressed anew, in sets that were made without a protocol."""
    faces = make_faces(people=8, each=3)
    everything = np.arange(24)
    check_copies(faces, everything)
    faces.images[7] = faces.images[2] // 2 + 20
    with raises_naming(InputError, 2, "0/2.png"):
        check_copies(make_faces_with(faces.images), everything)
    check_copies(make_faces_with(faces.images), np.delete(everything, 7))


def make_faces_with(images: NDArray[np.uint8]) -> FaceSet:
    return dataclasses.replace(make_faces(people=8, each=3), images=images)


def test_genuine_pairs_of_one_photo_are_said_and_refused_where_many(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_near_pairs("dev", 2, 20, "a.png")
    names(caplog.text, 2, 20, "dev", "a.png")
    with raises_naming(InputError, 3, 20, "dev", "a.png"):
        warn_of_near_pairs("dev", 3, 20, "a.png")


def test_few_people_are_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_labels(np.repeat(np.arange(20), 3))
        assert not caplog.text
        check_labels(np.repeat(np.arange(4), 9))
    names(caplog.text, "4 identities", "6 couples")
