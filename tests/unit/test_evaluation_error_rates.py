from __future__ import annotations

import numpy as np
import pytest
from messages import raises_naming
from test_evaluation_far import brute_force, clusters

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation import all_pairs, tar_at_far
from efq.toolchain.evaluation.figures.cross_pairs import cross_pairs
from efq.toolchain.evaluation.figures.error_rates import (
    generalized_fnmr,
    histogram_of_scores,
    rates_at_fmr,
    rates_at_threshold,
    score_histogram,
)
from efq.toolchain.evaluation.figures.limits import enough_errors, rule_of_thirty, rule_of_three

# By scikit-learn 1.9.1 on the pairs of `clusters()`: det_curve and roc_curve(drop_intermediate=False); pyeer 0.5.6 has
# the same EER and FMR1000.
EER = 0.175
FNMR_AT_FMR = {1e-3: 0.908333333, 1e-2: 0.733333333, 0.07: 0.3625}


def test_rates_of_a_few_scores_by_hand() -> None:
    genuine, impostor = np.array([0.9, 0.5, 0.2, 0.7]), np.array([0.1, 0.5, 0.6, -0.4, 0.0])
    found = rates_at_threshold(genuine, impostor, 0.5)  # a score at the threshold is not above it
    assert (found.fmr, found.fnmr, found.enough_impostors) == (1 / 5, 2 / 4, False)
    assert rates_at_threshold(genuine, impostor, 0.49).fmr == 2 / 5
    assert rates_at_threshold(genuine, impostor, -1.0).fnmr == 0.0
    assert rates_at_threshold(genuine, impostor, 1.0).fnmr == 1.0
    assert rates_at_threshold(genuine, impostor, 0.5, impostor_pairs=500).fmr == 1 / 500
    with raises_naming(UsageError, -0.5):
        rates_at_threshold(genuine, impostor, -0.5, impostor_pairs=500)
    with raises_naming(InputError, 0):
        rates_at_threshold(genuine, impostor[:0], 0.5)


def test_equal_scikit_learn() -> None:
    pairs = all_pairs(*clusters())
    for fmr, fnmr in FNMR_AT_FMR.items():
        found = rates_at_fmr(pairs, fmr)
        assert found.fnmr == pytest.approx(fnmr, abs=1e-9)
        assert found.fmr <= fmr
        assert found.enough_impostors == (fmr * pairs.impostor_pairs >= 30)
        at = rates_at_threshold(pairs.genuine, pairs.impostor, found.threshold)
        assert (at.fmr, at.fnmr) == pytest.approx((found.fmr, found.fnmr))
    assert pairs.scores is not None
    assert pairs.scores.eer() == pytest.approx(EER, abs=2e-3)


def test_histogram_is_exact_at_its_edges() -> None:
    embeddings, labels = clusters()
    genuine, impostor = (np.array(values) for values in brute_force(embeddings, labels))
    found = score_histogram(embeddings, labels, block=13)
    assert (found.genuine_pairs, found.impostor_pairs) == (len(genuine), len(impostor))
    for threshold in (-0.25, 0.0, 0.4375, 0.9):
        near = found.edges[np.abs(found.edges - threshold).argmin()]
        assert found.fmr(threshold) == pytest.approx((impostor > near).mean(), abs=1.1 / len(impostor))
        assert found.fnmr(threshold) == pytest.approx((genuine <= near).mean(), abs=1.1 / len(genuine))
    assert (found.fmr(-1.5), found.fnmr(1.5)) == (1.0, 1.0)
    threshold = found.threshold_at(1e-2)
    assert found.fmr(threshold) <= 1e-2 < found.fmr(threshold - 3 / 8192)
    assert abs(threshold - tar_at_far(all_pairs(embeddings, labels), 1e-2).threshold) <= 1 / 8192


def test_scores_on_an_edge_are_not_above_it() -> None:
    found = histogram_of_scores(np.array([0.5, 1.0, 1.0000001]), np.array([-1.0, 0.5, np.nextafter(0.5, 1.0)]))
    assert found.fmr(0.5) == pytest.approx(1 / 3)
    assert found.fnmr(0.5) == pytest.approx(1 / 3)
    assert found.fmr(-1.0) == pytest.approx(1.0)  # what is at -1 or under it counts in the first bin


def test_det_curve_falls_and_rises_and_ends_at_0_and_1() -> None:
    found = score_histogram(*clusters())
    curve = found.det()
    assert (np.diff(curve.thresholds) > 0).all()
    assert (np.diff(curve.fmr) <= 0).all()
    assert (np.diff(curve.fnmr) >= 0).all()
    assert (curve.fmr[0], curve.fnmr[0]) == (1.0, 0.0)
    assert (curve.fmr[-1], curve.fnmr[-1]) == (0.0, 1.0)
    for place in range(0, len(curve.fmr), 50):
        assert curve.fmr[place] == found.fmr(curve.thresholds[place])
        assert curve.fnmr[place] == found.fnmr(curve.thresholds[place])


def test_eer_of_networks_that_know_all_and_nothing() -> None:
    scores = np.linspace(-0.5, 0.5, 1000)
    assert histogram_of_scores(scores, scores).eer() == pytest.approx(0.5, abs=1e-3)
    assert histogram_of_scores(scores + 2.0, scores - 2.0).eer() == 0.0
    assert histogram_of_scores(scores - 2.0, scores + 2.0).eer() == 1.0


def test_cross_pairs_are_both_orders_of_all_pairs() -> None:
    embeddings, labels = clusters()
    other, _ = clusters(noise=0.9)
    one = cross_pairs(embeddings, embeddings, labels, highest_far=1.0)
    alone = all_pairs(embeddings, labels, highest_far=1.0)
    np.testing.assert_allclose(one.impostor[::2], alone.impostor, atol=1e-6)
    np.testing.assert_allclose(one.genuine[::2], alone.genuine, atol=1e-6)
    assert one.impostor_pairs == 2 * alone.impostor_pairs
    mixed = cross_pairs(embeddings, other, labels, highest_far=1.0, block=7)
    scores = embeddings @ other.T
    same = labels[:, None] == labels[None]
    np.testing.assert_allclose(mixed.genuine, np.sort(scores[same & ~np.eye(len(labels), dtype=bool)]), atol=1e-6)
    np.testing.assert_allclose(mixed.impostor[::-1], np.sort(scores[~same]), atol=1e-6)
    assert mixed.scores is not None
    counted = score_histogram(embeddings, labels, probes=other)
    np.testing.assert_array_equal(counted.genuine, mixed.scores.genuine)
    weights = np.random.default_rng(0).integers(0, 3, 40)
    assert mixed.impostors_of(weights) == 2 * alone.impostors_of(weights)
    with raises_naming(InputError, 160, 16, 15):
        cross_pairs(embeddings, other[:, :15], labels)


def test_sets_without_both_kinds_of_pairs_are_errors() -> None:
    for labels in ([0, 0, 0], [0, 1, 2]):
        with raises_naming(InputError, 0):
            score_histogram(np.eye(3, dtype=np.float32), np.array(labels))
    with pytest.raises(UsageError):
        score_histogram(*clusters()).threshold_at(1.5)


def test_failures_to_enrol_count_as_rejected() -> None:
    # Of 10 images one fails: 0.9 * 0.9 of the attempts have both images, and of those 0.05 do not match.
    assert generalized_fnmr(0.05, 0.1) == pytest.approx(1 - 0.81 * 0.95)
    assert generalized_fnmr(0.05, 0.0) == pytest.approx(0.05)


def test_rules_of_three_and_of_thirty() -> None:
    assert (rule_of_three(300), rule_of_three(0), rule_of_three(2)) == (0.01, 1.0, 1.0)
    assert (rule_of_thirty(1e-3), rule_of_thirty(1e-5)) == (30_000, 3_000_000)
    assert enough_errors(rule_of_thirty(1e-4) * 1e-4)
    assert not enough_errors(29)
    # 3/N is what no error leaves below 5 %; 30 errors are known to 30 % with 90 %.
    assert (1 - rule_of_three(1000)) ** 1000 == pytest.approx(0.05, abs=1e-3)
    draws = np.random.default_rng(0).poisson(30, 100_000)
    assert (abs(draws - 30) <= 9).mean() == pytest.approx(0.9, abs=0.02)
