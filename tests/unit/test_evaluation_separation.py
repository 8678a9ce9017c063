"""How far genuine and impostor pairs are apart, and embeddings of which no figure means anything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime.errors import GateError, InputError
from efq.toolchain.evaluation.figures.separation import measure_separation, refuse_collapsed


def embeddings(people: int, each: int, noise: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(people, 1, 16)) + noise * generator.normal(size=(people, each, 16))
    rows = rows.reshape(-1, 16)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), np.repeat(np.arange(people), each)


def reference(rows: NDArray[np.float32], labels: NDArray[np.int64]) -> tuple[float, float, float, float]:
    """Pair by pair: means, AUC and d-prime."""
    pairs = [(labels[a] == labels[b], float(rows[a] @ rows[b])) for a, b in itertools.combinations(range(len(rows)), 2)]
    genuine, impostor = (np.array([value for same, value in pairs if same == wanted]) for wanted in (True, False))
    auc = float(np.mean([(g > impostor).mean() + (g == impostor).mean() / 2 for g in genuine]))
    d_prime = (genuine.mean() - impostor.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2)
    return genuine.mean(), impostor.mean(), auc, d_prime


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_as_counted_pair_by_pair(noise: float) -> None:
    rows, labels = embeddings(12, 3, noise)
    found = measure_separation(rows, labels * 7 + 3)
    assert (found.genuine, found.impostor, found.auc, found.d_prime) == pytest.approx(reference(rows, labels), rel=1e-5)


def test_a_resample_counts_an_identity_as_often_as_it_is_drawn() -> None:
    rows, labels = embeddings(6, 3, 1.0)
    found = measure_separation(rows, labels, resamples=20, seed=3)
    draws = np.random.default_rng(3).multinomial(6, np.full(6, 1 / 6), size=20)
    for draw, value in zip(draws, found.resampled, strict=True):
        copies = [(label, place) for label in range(6) for copy in range(draw[label]) for place in [copy]]
        pairs = [  # a genuine pair once a copy, an impostor pair once a pair of copies
            (labels[a] == labels[b], float(rows[a] @ rows[b]))
            for a, b in itertools.combinations(range(18), 2)
            for _ in range(draw[labels[a]] if labels[a] == labels[b] else draw[labels[a]] * draw[labels[b]])
        ]
        genuine, impostor = (np.array([value for same, value in pairs if same == wanted]) for wanted in (True, False))
        assert len(copies) == 6
        wanted = (genuine.mean() - impostor.mean()) / np.sqrt((genuine.var() + impostor.var()) / 2)
        assert value == pytest.approx(wanted, rel=1e-5)


def test_networks_are_compared_on_the_same_resamples() -> None:
    (good, labels), (bad, _), (none, _) = (embeddings(40, 2, noise) for noise in (0.5, 1.5, 100.0))
    better, worse, chance = (measure_separation(rows, labels) for rows in (good, bad, none))
    assert better.errors_above(worse) > 3
    assert worse.errors_above(better) < -3
    assert better.errors_above(better) == 0
    assert better.errors_above_chance > 5
    assert abs(chance.errors_above_chance) < 3


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 0, 0]])
def test_no_pairs(labels: list[int]) -> None:
    with raises_naming(InputError, "3 images"):
        measure_separation(embeddings(3, 1, 1.0)[0], np.array(labels))


def test_sound_embeddings() -> None:
    rows, _ = embeddings(20, 1, 1.0)
    cosines = rows @ rows.T
    wanted = (cosines.sum() - 20) / (20 * 19)
    assert refuse_collapsed(rows * 5, "network") == pytest.approx(wanted, abs=1e-6)
    assert refuse_collapsed(rows[:1], "network") == 0.0


@pytest.mark.parametrize(
    ("spoil", "facts"),
    [
        (lambda rows: np.where(np.arange(20)[:, None] == 3, np.nan, rows), ("1", "20")),
        (lambda rows: np.where(np.arange(20)[:, None] > 17, np.inf, rows), ("2", "20")),
        (lambda rows: rows * (np.arange(20)[:, None] > 4), ("5", "20")),
        (lambda rows: np.ones_like(rows) + 1e-5 * rows, ("20", "1.0000000")),
        (lambda rows: np.where(np.arange(20)[:, None] > 10, -1.0, 1.0) * np.ones_like(rows), ("20", "1.0000000")),
    ],
    ids=["nan", "infinite", "zero", "constant", "one direction"],
)
def test_embeddings_that_are_none(spoil: object, facts: tuple[str, ...]) -> None:
    rows = spoil(embeddings(20, 1, 1.0)[0])  # type: ignore[operator]
    with raises_naming(GateError, "network", *facts):
        refuse_collapsed(rows, "network")
