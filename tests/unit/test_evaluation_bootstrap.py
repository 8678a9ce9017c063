from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation import all_pairs, fold_accuracy
from efq.toolchain.evaluation.figures.bootstrap import (
    _weighted_tar,
    bootstrap_fold_accuracy,
    bootstrap_tar,
    percentile_interval,
)


def clusters(noise: float, identities: int = 30) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(identities), 4)
    embeddings = generator.normal(size=(identities, 8))[labels] + noise * generator.normal(size=(len(labels), 8))
    return (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32), labels


def test_weights_equal_repeating_every_pair() -> None:
    embeddings, labels = clusters(1.0, identities=8)
    weights = np.array([0, 2, 1, 3, 0, 1, 1, 0])
    genuine: list[float] = []
    impostor: list[float] = []
    for i in range(len(labels)):
        for j in range(i):
            similarity = float(embeddings[i] @ embeddings[j])
            if labels[i] == labels[j]:
                genuine += [similarity] * weights[labels[i]]
            else:
                impostor += [similarity] * (weights[labels[i]] * weights[labels[j]])
    ordered = sorted(impostor, reverse=True)
    fars = [0.01, 0.1, 0.5]
    expected = []
    for far in fars:
        threshold = ordered[int(far * len(ordered))] + 1e-6
        expected.append(np.mean([value > threshold for value in genuine]))
    found = _weighted_tar(all_pairs(embeddings, labels), weights, fars)
    np.testing.assert_allclose(found, expected)


def test_intervals_hold_the_figure_and_shrink_with_more_identities() -> None:
    widths = []
    for identities in (20, 80):
        pairs = all_pairs(*clusters(1.0, identities))
        samples = bootstrap_tar([pairs], [1e-2], resamples=200)
        low, high = percentile_interval(samples[0, :, 0])
        assert low < _weighted_tar(pairs, np.ones(identities, np.int64), [1e-2])[0] < high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_networks_share_the_resamples() -> None:
    pairs, others = all_pairs(*clusters(1.0)), all_pairs(*clusters(1.3))
    samples = bootstrap_tar([pairs, pairs, others], [1e-2, 1e-3], resamples=50, seed=4)
    assert samples.shape == (3, 50, 2)
    np.testing.assert_array_equal(samples[0], samples[1])
    np.testing.assert_array_equal(samples[2], bootstrap_tar([others], [1e-2, 1e-3], resamples=50, seed=4)[0])
    difference = samples[0, :, 0] - samples[2, :, 0]
    assert difference.std() < samples[0, :, 0].std() + samples[2, :, 0].std()


def test_resamples_without_genuine_pairs_are_undefined() -> None:
    embeddings = np.eye(4, dtype=np.float32)
    samples = bootstrap_tar([all_pairs(embeddings, np.array([0, 0, 1, 2]))], [0.1], resamples=200)
    assert np.isnan(samples).any()
    low, high = percentile_interval(samples[0, :, 0])
    assert low == high == 0.0
    assert math.isnan(percentile_interval(np.array([np.nan]))[0])


def test_other_images_are_an_error() -> None:
    with pytest.raises(InputError):
        bootstrap_tar([all_pairs(*clusters(1.0, 30)), all_pairs(*clusters(1.0, 31))], [0.1])


def test_fold_accuracy_intervals() -> None:
    generator = np.random.default_rng(0)
    same = generator.random(400) < 0.5
    folds = np.arange(400) % 10
    good, worse = generator.normal(size=400) + 3.0 * same, generator.normal(size=400) + 2.0 * same
    samples = bootstrap_fold_accuracy([good, good, worse], same, folds, resamples=60)
    np.testing.assert_array_equal(samples[0], samples[1])
    low, high = percentile_interval(samples[0])
    assert low < fold_accuracy(good, same, folds).accuracy < high
    # The spread is about that of a proportion of 400 trials.
    assert samples[0].std() == pytest.approx(math.sqrt(0.93 * 0.07 / 400), rel=0.5)
