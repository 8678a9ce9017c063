"""No figure is given where it would mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from messages import names, raises_naming
from networks import make_faces
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation import (
    EvaluationFaces,
    IndexedPairs,
    all_pairs,
    evaluate,
    fold_accuracy,
    measure_all_pairs,
    measure_folds,
)
from efq.toolchain.evaluation.protocols.chance import chance_accuracy
from efq.toolchain.evaluation.protocols.validity import (
    check_embeddings,
    check_folds,
    check_impostors,
    check_labels,
    warn_of_labels,
)

LABELS = np.repeat(np.arange(40), 5)


def unit(values: NDArray[np.float64]) -> NDArray[np.float32]:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def random_embeddings(count: int, seed: int = 0) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).normal(size=(count, 16)))


def people(labels: NDArray[np.int64], noise: float = 0.3) -> NDArray[np.float32]:
    generator = np.random.default_rng(1)
    return unit(
        generator.normal(size=(labels.max() + 1, 16))[labels] + noise * generator.normal(size=(len(labels), 16))
    )


def test_sound_embeddings_pass() -> None:
    check_embeddings("net", random_embeddings(9))
    check_embeddings("net", random_embeddings(1))


def with_row(value: float) -> NDArray[np.float32]:
    values = random_embeddings(9)
    values[4] = value
    return values


@pytest.mark.parametrize(
    ("embeddings", "fact"),
    [
        (with_row(np.nan), "1 of 9"),
        (with_row(np.inf), "1 of 9"),
        (with_row(0.0), "1 of 9"),
        (7 * random_embeddings(9), "lengths"),
        (np.repeat(random_embeddings(1), 9, axis=0), "same"),
        (np.zeros((0, 16), np.float32), "(0, 16)"),
        (np.zeros(16, np.float32), "(16,)"),
    ],
)
def test_embeddings_that_cannot_be_compared(embeddings: NDArray[np.float32], fact: str) -> None:
    with raises_naming(InputError, "net", fact):
        check_embeddings("net", embeddings)


@pytest.mark.parametrize(
    ("labels", "facts"),
    [
        (np.zeros(99, np.int64), (99, 1)),
        (np.arange(99), (99, 99, "0 genuine")),
        (np.array([0, 0, 0, 0, 1, 1, 1, 2]), (8, 3, "9 genuine")),
    ],
)
def test_sets_without_pairs_to_compare(labels: NDArray[np.int64], facts: tuple[object, ...]) -> None:
    with raises_naming(InputError, *facts):
        check_labels(labels)


@pytest.mark.parametrize(
    ("same", "folds", "fact"),
    [
        ([1, 1, 1, 1], [0, 0, 1, 1], "20 genuine ones alone in fold 0"),
        ([0, 0, 0, 0], [0, 0, 1, 1], "20 impostor ones alone in fold 0"),
        ([1, 0, 1, 1], [0, 0, 4, 4], "20 genuine ones alone in fold 4"),
        ([1, 0, 1, 0], [3, 3, 3, 3], "1"),
        ([], [], "0"),
    ],
)
def test_folds_of_one_answer(same: list[int], folds: list[int], fact: str) -> None:
    with raises_naming(InputError, "dev", fact):
        check_folds("dev", np.array(same * 10, bool), np.array(folds * 10, np.int64))


def test_ten_pairs_of_each_kind_are_enough() -> None:
    same, folds = np.arange(20) % 2 == 0, np.arange(20) // 10
    check_folds("dev", same, folds)
    with raises_naming(InputError, "dev", "10 and 9", 10):
        check_folds("dev", same[:-1], folds[:-1])


@pytest.mark.parametrize("share", [0.5, 0.2, 0.9, 0.99])
def test_chance_is_what_a_network_that_knows_nothing_reaches(share: float) -> None:
    generator = np.random.default_rng(0)
    same, folds = generator.uniform(size=4000) < share, np.arange(4000) % 10
    blind = fold_accuracy(np.zeros(4000), same, folds)
    assert chance_accuracy(same, folds) == pytest.approx(blind.accuracy, abs=1e-12)
    assert chance_accuracy(same, folds) == pytest.approx(max(share, 1 - share), abs=0.02)


def test_parts_of_people_that_count_as_people_are_seen_in_the_hardest_impostors() -> None:
    persons, parts = LABELS // 4, LABELS  # each person in four folders
    found = all_pairs(people(persons), parts)
    nested = [f"p{label // 4}/s{label}" for label in range(40)]
    with raises_naming(InputError, "faces", "--identity-level 1", "leaf"):
        check_impostors(found, nested, "faces")
    check_impostors(found, [f"s{label}" for label in range(40)], "faces")
    check_impostors(found, [f"{'ab'[label % 2]}/s{label}" for label in range(40)], "faces")
    for embeddings in (people(parts), random_embeddings(200)):
        check_impostors(all_pairs(embeddings, parts), nested, "faces")


def test_couples_of_identities_that_are_one_person_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """One person under two names, and one image in the wrong folder; not a network that knows nobody."""
    names_of = [f"s{label}" for label in range(40)]
    vectors = people(LABELS)
    vectors[:2] = vectors[0]  # so alike that one under another name stands out
    for embeddings in (vectors, random_embeddings(200)):
        warn_of_labels(all_pairs(embeddings, LABELS), names_of, "net")
    assert not caplog.records
    wrong = LABELS.copy()
    wrong[0] = 7
    twice = np.where(LABELS == 3, 30, LABELS)
    for seen, labels, couple in ((vectors, wrong, "s0 and s7"), (people(twice), LABELS, "s3 and s30")):
        caplog.clear()
        warn_of_labels(all_pairs(seen, labels), names_of, "net")
        (record,) = caplog.records
        names(record.getMessage(), couple, "net")


def test_nothing_is_evaluated_that_does_not_pass() -> None:
    faces = make_faces(people=8, each=3)
    good = random_embeddings(24)
    sound = EvaluationFaces(faces=faces, compared=np.arange(24), pair_lists=())
    evaluate({"net": good}, sound, fars=(1e-1,), resamples=0)
    with raises_naming(InputError, "other"):
        evaluate({"net": good, "other": good * np.float32(np.nan)}, sound, resamples=0)
    with raises_naming(InputError, "0 genuine"):
        evaluate({"net": good}, EvaluationFaces(faces=faces, compared=np.arange(0, 24, 3), pair_lists=()), resamples=0)
    genuine = IndexedPairs(
        name="dev",
        first=np.arange(0, 24, 3),
        second=np.arange(1, 24, 3),
        same=np.ones(8, bool),
        folds=np.arange(8) % 2,
        skipped=0,
    )
    listed = EvaluationFaces(faces=faces, compared=np.arange(24), pair_lists=(genuine,), all_pairs=False)
    with raises_naming(InputError, "dev"):
        evaluate({"net": good}, listed, resamples=0)


def test_no_other_way_to_a_figure_goes_around_the_checks() -> None:
    good, labels = random_embeddings(200), LABELS
    measure_all_pairs(good, labels, resamples=0)
    places, folds = np.arange(200), np.arange(200) % 2
    same = places % 4 < 2
    measure_folds("dev", good, places, (places + 1) % 200, same, folds, resamples=0)
    with raises_naming(InputError, "reference"):
        measure_all_pairs(good, labels, reference=good * np.float32(np.nan), resamples=0)
    with raises_naming(InputError, "0 genuine"):
        measure_all_pairs(good, np.arange(200), resamples=0)
    with raises_naming(InputError, "dev", 0):
        measure_folds("dev", good, places, places, same, folds, resamples=0)
    with raises_naming(InputError, "dev", "fold 0"):
        measure_folds("dev", good, places, (places + 1) % 200, places % 2 == 0, folds, resamples=0)


def test_chance_stands_beside_the_accuracy() -> None:
    faces = make_faces(people=16, each=3)
    places = np.arange(48)
    pairs = IndexedPairs(
        name="dev",
        first=places,
        second=(places + 1) % 48,
        same=faces.labels == faces.labels[(places + 1) % 48],
        folds=places // 24,
        skipped=0,
    )
    listed = EvaluationFaces(faces=faces, compared=places, pair_lists=(pairs,), all_pairs=False)
    (found,) = evaluate({"net": random_embeddings(48)}, listed, resamples=0).networks["net"].folds
    assert found.chance == pytest.approx(32 / 48)
