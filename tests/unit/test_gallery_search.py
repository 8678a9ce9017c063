"""Exact search beside brute force in float64."""

from __future__ import annotations

import numpy as np
import pytest
from galleries import draw_embeddings
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.runtime.gallery import search
from efq.runtime.gallery.search import search_faces, search_people


@pytest.fixture(params=[64, 1 << 16], ids=["small blocks", "one block"])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_ROWS", request.param)
    monkeypatch.setattr(search, "_PROBES", 7)


def expect_best(found: search.Matches, scores: NDArray[np.float64], k: int) -> None:
    """The similarities are the k largest of each row of `scores`, and each place has the one it says."""
    wanted = -np.sort(-scores, axis=1)[:, :k]
    np.testing.assert_allclose(found.similarities, wanted, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(scores, found.places, 1), wanted, atol=1e-6)
    assert all(len(set(row)) == len(row) for row in found.places.tolist())


@pytest.mark.parametrize("k", [1, 3, 50, 1000])
@pytest.mark.usefixtures("blocks")
def test_exact(k: int) -> None:
    rows, labels = draw_embeddings(100, 4, spread=1.0)
    probes, _ = draw_embeddings(100, 1, spread=1.0, seed=3)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    rows, people = rows[shuffled], np.array([f"p{label:03}" for label in labels[shuffled]])
    scores = probes.astype(np.float64) @ rows.astype(np.float64).T
    expect_best(search_faces(rows, probes, k), scores, k)
    by_person = np.stack([scores[:, people == person].max(axis=1) for person in np.unique(people)], axis=1)
    expect_best(search_people(rows, people, probes, k), by_person, k)


@pytest.mark.usefixtures("blocks")
def test_the_first_of_equal_ones_comes_first() -> None:
    row = draw_embeddings(1, 1)[0]
    rows = np.repeat(row, 200, axis=0)
    assert search_faces(rows, row, 5).places.tolist() == [[0, 1, 2, 3, 4]]
    assert search_people(rows, np.array([f"{place % 50:02}" for place in range(200)]), row, 2).places.tolist() == [
        [0, 1]
    ]


@pytest.mark.parametrize("k", [1, 4, 500])
@pytest.mark.usefixtures("blocks")
def test_ranks_are_those_of_float64_however_probes_are_batched(k: int) -> None:
    rows, _ = draw_embeddings(300, 1, size=128)
    rows[150:] = rows[:150]  # every face twice, of two people
    probes, _ = draw_embeddings(40, 1, size=128, seed=2)
    scores = (probes[:, None].astype(np.float64) * rows).sum(axis=2)
    wanted = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    people = np.array([f"{place:03}" for place in range(300)])
    for found in (search_faces(rows, probes, k), search_people(rows, people, probes, k)):
        assert (found.places == wanted).all()
    assert (search_faces(rows, probes[39:], k).places == wanted[39:]).all()


@pytest.mark.usefixtures("blocks")
def test_a_person_may_have_more_faces_than_a_block() -> None:
    rows, _ = draw_embeddings(1, 300, spread=1.0)
    people = np.array(["a"] * 100 + ["b"] * 200)
    found = search_people(rows, people, rows[:9], 2)
    assert found.places[:, 0].tolist() == [0] * 9
    np.testing.assert_allclose(found.similarities[:, 1], (rows[:9] @ rows[100:].T).max(axis=1), atol=1e-6)


def test_what_does_not_fit_is_refused() -> None:
    rows, _ = draw_embeddings(3, 2, size=8)
    with raises_naming(InputError, 8, 5):
        search_faces(rows, rows[:, :5].copy())
    with pytest.raises(InputError):
        search_faces(rows[:0], rows)
    with pytest.raises(InputError):
        search_faces(rows, rows.astype(np.float64))  # type: ignore[arg-type]
    with pytest.raises(InputError):
        search_faces(rows, np.where(rows == rows[0, 0], np.float32(np.nan), rows), 2)
    with pytest.raises(UsageError):
        search_faces(rows, rows, 0)
