"""The one evaluation of several networks: the same figures as each pair of networks measured alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from messages import raises_naming
from networks import make_faces
from numpy.typing import NDArray

from efq.runtime.errors import UsageError
from efq.runtime.progress import no_progress
from efq.toolchain.data import FaceSet
from efq.toolchain.evaluation import (
    EvaluationFaces,
    IndexedPairs,
    check_unseen,
    decision_far,
    embed_faces,
    embedding_cosines,
    evaluate,
    far_name,
    measure_agreement,
    measure_all_pairs,
    measure_folds,
    training_images,
)

FACES = make_faces(people=30, each=4)
PLACES = np.arange(119)
PAIRS = IndexedPairs(
    name="dev",
    first=PLACES,
    second=PLACES + 1,
    same=FACES.labels[:-1] == FACES.labels[1:],
    folds=PLACES % 5,
    skipped=2,
)
FARS = (1e-1, 1e-2, 1e-4)


def faces(*, all_pairs: bool = True) -> EvaluationFaces:
    return EvaluationFaces(faces=FACES, compared=np.arange(100), pair_lists=(PAIRS,), all_pairs=all_pairs)


def embeddings(noise: float, size: int = 12) -> NDArray[np.float32]:
    generator = np.random.default_rng(7)
    values = generator.normal(size=(30, size))[FACES.labels] + noise * generator.normal(size=(len(FACES), size))
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


NETWORKS = {"teacher": embeddings(0.5), "student": embeddings(0.7), "artifact": embeddings(0.9)}


def test_every_network_is_measured_as_it_is_alone_beside_the_reference() -> None:
    found = evaluate(NETWORKS, faces(), reference="teacher", fars=FARS, resamples=20)
    teacher = NETWORKS["teacher"]
    assert list(found.networks) == list(NETWORKS)
    for name, network in found.networks.items():
        model = NETWORKS[name]
        alone = measure_all_pairs(model[:100], FACES.labels[:100], reference=teacher[:100], fars=FARS, resamples=20)
        assert network.all_pairs == alone
        columns = (PAIRS.first, PAIRS.second, PAIRS.same, PAIRS.folds)
        folds = measure_folds("dev", model, *columns, reference=teacher, skipped_pairs=2, resamples=20)
        assert network.folds == (folds,)
        if name != "teacher":
            agreement = measure_agreement(model[:100], teacher[:100], alone)
            assert found.agreements["teacher", name] == agreement
    assert found.agreements.keys() == {("teacher", "student"), ("teacher", "artifact")}


def test_one_network_alone_has_no_reference() -> None:
    found = evaluate({"model": NETWORKS["student"]}, faces(), fars=FARS, resamples=0)
    (network,) = found.networks.values()
    assert network.all_pairs is not None
    assert all(row.reference_tar is row.difference is row.tar.low is None for row in network.all_pairs.rows)
    assert network.folds[0].difference is None
    assert found.agreements == {}
    assert found.pairs["model"].impostor_pairs == network.all_pairs.impostor_pairs


def test_rates_the_faces_do_not_reach_are_left_out_when_asked() -> None:
    found = evaluate(NETWORKS, faces(), reference="teacher", fars=FARS, only_reached=True, resamples=0)
    pairs = found.networks["student"].all_pairs
    assert pairs is not None
    assert [row.far for row in pairs.rows] == [1e-1, 1e-2]
    assert found.agreements["teacher", "student"].far == 1e-2
    found = evaluate(NETWORKS, faces(), reference="teacher", fars=(1e-4,), only_reached=True)
    agreement = found.agreements["teacher", "student"]
    assert agreement.far is agreement.equal_decisions is None
    assert agreement.cosine_mean is not None


def test_without_all_pairs_only_listed_ones_are_compared() -> None:
    found = evaluate(NETWORKS, faces(all_pairs=False), reference="teacher", also=[("student", "artifact")], fars=FARS)
    assert found.pairs == {}
    assert all(network.all_pairs is None and len(network.folds) == 1 for network in found.networks.values())
    agreement = found.agreements["student", "artifact"]
    assert (agreement.far, agreement.equal_decisions) == (1e-4, None)
    expected = embedding_cosines(NETWORKS["student"][:100], NETWORKS["artifact"][:100]).mean()
    assert agreement.cosine_mean == pytest.approx(expected)


def test_cosines_of_known_vectors() -> None:
    first = np.array([[1.0, 0.0], [0.6, 0.8]], np.float32)
    second = np.array([[0.0, 1.0], [0.6, 0.8]], np.float32)
    np.testing.assert_allclose(embedding_cosines(first, second), [0.0, 1.0], atol=1e-6)


def test_the_decision_rate_is_the_closest_the_faces_reach() -> None:
    assert decision_far((1e-2, 1e-3, 1e-4, 1e-5)) == 1e-4
    assert decision_far((1e-2, 1e-3)) == 1e-3
    assert decision_far(()) is None
    assert [far_name(far) for far in (1e-2, 1e-5)] == ["1e-2", "1e-5"]


def mean_color(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 6) of unit length: the mean of the left and of the right half."""
    half = images.shape[2] // 2
    sides = [images[:, :, :half].mean((1, 2)), images[:, :, half:].mean((1, 2))]
    values = np.concatenate(sides, axis=1)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def test_embedding_in_chunks_is_embedding_at_once() -> None:
    at_once = mean_color(FACES.images)
    np.testing.assert_array_equal(embed_faces(mean_color, FACES), at_once)
    np.testing.assert_allclose(embed_faces(mean_color, FACES, normalize=True), at_once, atol=1e-6)
    flipped = embed_faces(mean_color, FACES, flip=True, progress=no_progress)
    np.testing.assert_allclose(flipped[:, :3], flipped[:, 3:], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(flipped, axis=1), 1.0, atol=1e-6)


def seen(faces: FaceSet, *places: int) -> frozenset[str]:
    return frozenset(faces.hashes[place][:16] for place in places)


def test_training_images_are_found_and_refused() -> None:
    # the hashes of drawn faces differ only in their last digits
    own = dataclasses.replace(FACES, hashes=tuple(value[::-1] for value in FACES.hashes))
    hashes = seen(own, 5, 3) | {"f" * 16}
    assert training_images(own, hashes) == [own.paths[3], own.paths[5]]
    check_unseen(own, Path("student.pt"), frozenset(), remedy="take others")
    with raises_naming(UsageError, "student.pt", 2, len(own), own.paths[3], "take others"):
        check_unseen(own, Path("student.pt"), hashes, remedy="take others")
