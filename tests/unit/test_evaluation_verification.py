from __future__ import annotations

import numpy as np
from messages import raises_naming

from efq.runtime.errors import InputError
from efq.toolchain.evaluation import fold_accuracy, pair_similarities
from efq.toolchain.evaluation.figures.verification import best_threshold


def test_best_threshold_by_hand() -> None:
    similarities = np.array([0.9, 0.2, 0.7, 0.4, 0.6])
    same = np.array([True, False, True, True, False])
    # 4 of 5 are right with the cut at 0.7 (only 0.4 is missed) and at 0.4 (only 0.6 is wrong): the lower one is taken.
    assert best_threshold(similarities, same) == 0.4
    assert best_threshold(similarities, same, np.array([1, 1, 1, 1, 2])) == 0.7
    assert best_threshold(similarities, same, np.array([1, 1, 1, 0, 1])) == 0.7
    assert best_threshold(similarities, ~same) > 0.6


def test_best_threshold_does_not_cut_between_equal_similarities() -> None:
    assert best_threshold(np.array([0.5, 0.5, 0.5, 0.1]), np.array([True, True, False, False])) == 0.5


def test_best_threshold_equals_trying_every_one() -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        same = generator.random(30) < 0.5
        similarities = np.round(generator.normal(size=30) + same, 1)
        candidates = np.append(similarities, similarities.max() + 1)
        accuracies = [np.mean((similarities >= threshold) == same) for threshold in candidates]
        found = np.mean((similarities >= best_threshold(similarities, same)) == same)
        assert found == max(accuracies)


def test_fold_accuracy_by_hand() -> None:
    similarities = np.array([0.8, 0.3, 0.5, 0.6])
    same = np.array([True, False, True, False])
    result = fold_accuracy(similarities, same, np.array([0, 0, 1, 1]))
    # Fold 0 with the threshold of fold 1: of accepting none (right on 0.6) and accepting both, the lower, 0.5.
    # Fold 1 with the threshold of fold 0, 0.8: both rejected, one of them rightly.
    assert result.thresholds == (0.5, 0.8)
    assert result.folds == (1.0, 0.5)
    assert result.accuracy == 0.75
    assert result.standard_deviation == 0.25


def test_weights_count_pairs_again() -> None:
    generator = np.random.default_rng(1)
    similarities, same, folds = generator.normal(size=60), generator.random(60) < 0.5, np.arange(60) % 3
    weights = generator.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    expected = fold_accuracy(similarities[repeated], same[repeated], folds[repeated])
    assert fold_accuracy(similarities, same, folds, weights) == expected


def test_one_fold_is_an_error() -> None:
    with raises_naming(InputError, "folds", 1):
        fold_accuracy(np.array([0.1, 0.2]), np.array([True, False]), np.array([4, 4]))


def test_pair_similarities_are_cosines() -> None:
    embeddings = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], np.float32)
    found = pair_similarities(embeddings, np.array([0, 0, 1]), np.array([0, 1, 2]))
    np.testing.assert_allclose(found, [1.0, 0.0, 0.8], atol=1e-7)
