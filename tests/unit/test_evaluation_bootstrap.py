from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.evaluation import all_pairs, fold_accuracy, tar_at_far
from efq.toolchain.evaluation.figures.bootstrap import (
    _resampled_tar,
    _resampled_thresholds,
    bootstrap_fold_accuracy,
    bootstrap_tar,
    draw_people,
    percentile_interval,
    tar_interval,
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
    pairs = all_pairs(embeddings, labels)
    assert pairs.impostors_of(weights) == len(impostor)
    far = 0.1
    draws = np.stack([weights, np.ones_like(weights)])
    found, thresholds = (
        _resampled_tar(pairs, draws, [far])[:, 0],
        _resampled_thresholds(pairs, draws, pairs.impostors_of(draws), far),
    )
    assert found[0] == pytest.approx(np.mean([value > thresholds[0] + 1e-6 for value in genuine]))
    assert (found[1], thresholds[1]) == pytest.approx((tar_at_far(pairs, far).tar, tar_at_far(pairs, far).threshold))


def test_thresholds_of_resamples_are_those_of_their_pairs() -> None:
    embeddings, labels = clusters(1.0, identities=60)
    pairs, far = all_pairs(embeddings, labels), 0.02
    draws = draw_people(60, 200)
    found = _resampled_thresholds(pairs, draws, pairs.impostors_of(draws), far)
    weights = draws[:, pairs.impostor_identities[:, 0]] * draws[:, pairs.impostor_identities[:, 1]]
    above = np.cumsum(weights, axis=1)
    places = [int(np.searchsorted(row, far * row[-1], side="right")) for row in above]
    exact = pairs.impostor[places]
    # The same resamples push it the same way, and less: a product of weights varies more than people do.
    assert np.corrcoef(found, exact)[0, 1] > 0.9
    assert 0.5 < found.std() / exact.std() < 1.0
    assert found.mean() == pytest.approx(exact.mean(), abs=0.01)


def test_intervals_hold_the_figure_and_shrink_with_more_identities() -> None:
    widths = []
    for identities in (20, 80):
        pairs = all_pairs(*clusters(1.0, identities))
        samples = bootstrap_tar([pairs], [1e-2], resamples=200)
        point = tar_at_far(pairs, 1e-2)
        low, high = tar_interval(pairs, point, samples[0, :, 0])
        assert low < point.tar < high
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
    assert np.nanmax(samples) == 0.0
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
