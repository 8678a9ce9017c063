"""Accuracy and parity on embeddings small enough to count by hand."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.benchmarks.accuracy.parity import PairParity, check_gates, compare
from efq.runtime.errors import ParityError, UsageError
from efq.toolchain.data import FaceSet
from efq.toolchain.evaluation import EvaluationFaces, IndexedPairs

IDENTITIES, IMAGES_EACH, SIZE = 20, 4, 8


def make_faces(pair_lists: tuple[IndexedPairs, ...] = ()) -> EvaluationFaces:
    """Faces whose last image only a pairs file would name."""
    count = IDENTITIES * IMAGES_EACH
    faces = FaceSet(
        source="drawn",
        paths=tuple(str(index) for index in range(count + 1)),
        labels=np.append(np.repeat(np.arange(IDENTITIES), IMAGES_EACH), 0),
        identities=tuple(str(index) for index in range(IDENTITIES)),
        hashes=tuple(f"{index:064x}" for index in range(count + 1)),
        pixel_hashes=tuple(f"{index:064x}" for index in range(count + 1)),
        unreadable=(),
        images=np.zeros((count + 1, 1, 1, 3), np.uint8),
    )
    return EvaluationFaces(faces=faces, compared=np.arange(count), pair_lists=pair_lists)


def make_embeddings(faces: EvaluationFaces, noise: float, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    centers = generator.normal(size=(IDENTITIES, SIZE))
    vectors = centers[faces.faces.labels] + noise * generator.normal(size=(len(faces.faces), SIZE))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_identical_networks_agree_on_everything() -> None:
    faces = make_faces()
    vectors = make_embeddings(faces, 0.3)
    comparison = compare({"teacher": vectors, "student": vectors.copy()}, faces, reference="teacher")
    results = comparison.results
    assert (results.images, results.identities, results.genuine_pairs) == (80, 20, 20 * 6)
    assert results.impostor_pairs == 80 * 79 // 2 - 20 * 6
    pair = results.between("teacher", "student")
    assert pair.cosine_min == pytest.approx(1.0, abs=1e-6)
    assert pair.equal_decisions == 1.0
    assert pair.decision_far == 1e-2
    assert results.of("teacher").tar == results.of("student").tar


def test_figures_match_a_direct_count() -> None:
    faces = make_faces()
    networks = {"teacher": make_embeddings(faces, 0.4), "student": make_embeddings(faces, 0.6)}
    comparison = compare(networks, faces, reference="teacher")
    labels = faces.labels
    upper = np.triu_indices(len(labels), 1)
    same = labels[upper[0]] == labels[upper[1]]
    accepted = {}
    for name, vectors in networks.items():
        scores = (vectors[:80] @ vectors[:80].T)[upper]
        threshold = np.sort(scores[~same])[::-1][int(0.01 * (~same).sum())]
        accepted[name] = scores > threshold
        found = comparison.results.of(name)
        assert found.thresholds["1e-2"] == pytest.approx(threshold, abs=1e-6)
        assert found.tar["1e-2"] == pytest.approx(accepted[name][same].mean())
    pair = comparison.results.between("teacher", "student")
    assert pair.equal_decisions == pytest.approx((accepted["teacher"] == accepted["student"]).mean())
    direct = (networks["teacher"] * networks["student"]).sum(axis=1)[:80]
    assert pair.cosine_mean == pytest.approx(direct.mean(), abs=1e-6)
    assert pair.cosine_p1 == pytest.approx(np.percentile(direct, 1), abs=1e-6)
    student = networks["student"][:80]
    assert pair.cosine_different == pytest.approx((student @ student.T)[upper].mean(), abs=1e-6)


def test_ten_fold_accuracy_of_separable_pairs_is_one() -> None:
    own, other = (0, 1, 2, 3, 80), (8, 9)  # images of two people
    both = zip(itertools.combinations(own, 2), itertools.product(own, other), strict=True)
    pairs = np.array(list(itertools.chain.from_iterable(both)))
    listed = IndexedPairs(
        name="pairs",
        first=pairs[:, 0],
        second=pairs[:, 1],
        same=np.array([True, False] * 10),
        folds=np.arange(20) // 10,
        skipped=0,
    )
    faces = make_faces((listed,))
    comparison = compare({"teacher": make_embeddings(faces, 0.0)}, faces, reference="teacher")
    assert comparison.results.of("teacher").ten_fold == {"pairs": 1.0}


def test_other_pairs_are_compared_when_asked() -> None:
    faces = make_faces()
    networks = {name: make_embeddings(faces, noise) for name, noise in (("t", 0.1), ("s", 0.2), ("a", 0.3))}
    found = compare(networks, faces, reference="t", also=[("s", "a")]).results.parity
    assert [(pair.reference, pair.network) for pair in found] == [("t", "s"), ("t", "a"), ("s", "a")]


def test_embeddings_of_another_size_are_refused() -> None:
    faces = make_faces()
    vectors = make_embeddings(faces, 0.1)
    with raises_naming(UsageError, vectors.shape[1], 4, "teacher", "other"):
        compare({"teacher": vectors, "other": vectors[:, :4]}, faces, reference="teacher")


def test_gates() -> None:
    pair = PairParity(
        reference="t",
        network="a",
        cosine_mean=0.9999,
        cosine_p1=0.9995,
        cosine_min=0.999,
        decision_far=1e-4,
        equal_decisions=0.9995,
    )
    check_gates(pair, min_cosine=0.999, min_decisions=0.9995)
    check_gates(pair, min_cosine=None, min_decisions=None)
    with raises_naming(ParityError, "0.9991", "0.999000", "t", "a"):
        check_gates(pair, min_cosine=0.9991, min_decisions=None)
    with raises_naming(ParityError, "0.9996", "0.999500", "t", "a"):
        check_gates(pair, min_cosine=None, min_decisions=0.9996)
    unknown = dataclasses.replace(pair, equal_decisions=None)
    with raises_naming(ParityError, "impostor pairs", "t", "a"):
        check_gates(unknown, min_cosine=None, min_decisions=0.9)
