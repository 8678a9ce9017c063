from __future__ import annotations

import numpy as np
import pytest
from messages import raises_naming
from test_evaluation_far import clusters

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.figures.search import (
    cmc,
    fnir_at_fpir,
    fnir_at_threshold,
    fpir_at_threshold,
    leave_own_person_out,
    search_scores,
)
from efq.toolchain.evaluation.measure_search import FPIRS, measure_search


def degrees(*angles: float) -> np.ndarray:
    radians = np.deg2rad(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


# Enrolled: person 7 at 0 and 90 degrees, person 5 at 40, person 9 at 200.
GALLERY, GALLERY_PEOPLE = degrees(0, 40, 90, 200), np.array([7, 5, 7, 9])


def test_a_search_by_hand() -> None:
    probes, people = degrees(10, 85, 45, 66, 300, 120), np.array([7, 7, 9, 5, 1, 2])
    for block in (1, 4, 512):
        found = search_scores(GALLERY, GALLERY_PEOPLE, probes, people, block=block)
        np.testing.assert_array_equal(found.rank, [1, 1, 3, 2])
        np.testing.assert_allclose(found.mate, np.cos(np.deg2rad([10, 5, 155, 26])), atol=1e-6)
        np.testing.assert_allclose(found.other, np.cos(np.deg2rad([30, 45, 5, 24])), atol=1e-6)
        np.testing.assert_allclose(found.nonmate, np.cos(np.deg2rad([60, 30])), atol=1e-6)
        np.testing.assert_array_equal(found.nonmate_person, [1, 2])
        assert found.enrolled == 3
    np.testing.assert_allclose(cmc(found, (1, 2, 3)), [0.5, 0.75, 1.0])
    assert fnir_at_threshold(found, 0.95) == 0.5
    assert fnir_at_threshold(found, -1.0) == 0.0
    assert fnir_at_threshold(found, -1.0, rank=1) == 0.5
    assert fpir_at_threshold(found, 0.6) == 0.5
    at = fnir_at_fpir(found, 0.5)  # one of two may find somebody: the threshold is the lower score
    assert at.threshold == pytest.approx(0.5, abs=1e-6)
    assert (at.fnir, at.enough_nonmated) == (0.25, False)
    assert fnir_at_fpir(found, 0.0).fnir == 0.25  # at cos 30 degrees


def test_people_as_alike_as_the_own_one_come_before_it() -> None:
    found = search_scores(degrees(0, 0), np.array([0, 1]), degrees(0, 0), np.array([0, 1]))
    np.testing.assert_array_equal(found.rank, [2, 2])  # a network that takes all for one does not identify


def test_equals_brute_force() -> None:
    embeddings, labels = clusters(identities=30, images=5)
    gallery = np.random.default_rng(1).permutation(len(labels))[:60]
    probes = np.setdiff1d(np.arange(len(labels)), gallery)
    found = search_scores(embeddings[gallery], labels[gallery], embeddings[probes], labels[probes], block=17)
    ranks, nonmates = [], []
    for probe in probes:
        scores = {
            person: float((embeddings[gallery[labels[gallery] == person]] @ embeddings[probe]).max())
            for person in set(labels[gallery].tolist())
        }
        if labels[probe] in scores:
            ranks.append(sum(score >= scores[labels[probe]] for score in scores.values()))
        else:
            nonmates.append(max(scores.values()))
    np.testing.assert_array_equal(found.rank, ranks)
    np.testing.assert_allclose(found.nonmate, nonmates, rtol=1e-5)


def test_leaving_the_own_person_out() -> None:
    probes, people = degrees(10, 85, 45, 66), np.array([7, 7, 9, 5])
    found = leave_own_person_out(search_scores(GALLERY, GALLERY_PEOPLE, probes, people))
    # Person 7 has two images: both leave with the person.
    np.testing.assert_allclose(found.nonmate, np.cos(np.deg2rad([30, 45, 5, 24])), atol=1e-6)
    with raises_naming(InputError, 1):
        leave_own_person_out(search_scores(degrees(0), np.array([1]), probes, people))


def test_what_cannot_be_searched_is_refused() -> None:
    probes = degrees(1, 2)
    with raises_naming(InputError, 0):
        search_scores(GALLERY[:0], GALLERY_PEOPLE[:0], probes, np.array([7, 7]))
    with pytest.raises(InputError):
        search_scores(GALLERY, GALLERY_PEOPLE, np.ones((2, 3), np.float32), np.array([7, 7]))
    enrolled = search_scores(GALLERY, GALLERY_PEOPLE, probes, np.array([7, 7]))
    unknown = search_scores(GALLERY, GALLERY_PEOPLE, probes, np.array([1, 1]))
    with pytest.raises(InputError):
        fnir_at_fpir(enrolled, 0.1)
    with pytest.raises(InputError):
        cmc(unknown, (1,))
    with raises_naming(UsageError, 0):
        cmc(enrolled, (0,))
    with raises_naming(UsageError, 2.0):
        fnir_at_fpir(leave_own_person_out(enrolled), 2.0)
    with raises_naming(InputError, 3):
        measure_search([np.eye(3, dtype=np.float32)], np.arange(3))


def test_networks_are_searched_on_the_same_faces() -> None:
    worse, labels = clusters(identities=80, noise=1.3)
    better, _ = clusters(identities=80, noise=0.8)
    found = measure_search([worse, better, better], labels, reference=1, resamples=50)
    assert (found[0].enrolled, found[0].probes) == (80, 240)
    first = found[0].ranks[0]
    assert first.difference is not None
    assert first.difference.high is not None
    assert first.difference.high < 0.0
    assert first.rate.low is not None
    assert first.rate.high is not None
    assert first.rate.low < first.rate.value < first.rate.high
    for row in (*found[2].rows, *found[2].ranks):
        assert row.difference is not None
        assert (row.difference.value, row.difference.low, row.difference.high) == (0.0, 0.0, 0.0)
    assert [row.fpir for row in found[0].rows] == list(FPIRS)
    assert not any(row.enough_probes for row in found[0].rows)
    gallery = np.unique(labels, return_index=True)[1]
    probes = np.setdiff1d(np.arange(len(labels)), gallery)
    scores = search_scores(worse[gallery], labels[gallery], worse[probes], labels[probes])
    assert first.rate.value == pytest.approx(cmc(scores, (1,))[0])
    assert found[0].rows[0].fnir.value == fnir_at_fpir(leave_own_person_out(scores), 0.1).fnir
    alone = measure_search([worse], labels, resamples=0)[0].ranks[0]
    assert (alone.rate.value, alone.rate.low, alone.difference) == (first.rate.value, None, None)
