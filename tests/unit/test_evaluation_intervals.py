from __future__ import annotations

import math

import numpy as np
import pytest
from test_evaluation_far import clusters

from efq.runtime.errors import UsageError
from efq.toolchain.evaluation import all_pairs
from efq.toolchain.evaluation.figures.bootstrap import draw_people
from efq.toolchain.evaluation.figures.cross_pairs import cross_pairs
from efq.toolchain.evaluation.figures.intervals import (
    difference_interval,
    rate_interval,
    recentred_interval,
    student_quantile,
    wilson_interval,
)
from efq.toolchain.evaluation.figures.variance import (
    degrees_of_freedom,
    false_matches,
    fmr_by_people,
    fnmr_by_people,
    rate_by_people,
)


def test_wilson_interval_as_published() -> None:
    # scipy 1.17.1, binomtest(12, 30).proportion_ci(method="wilson").
    assert wilson_interval(12 / 30, 30) == pytest.approx((0.245906, 0.576796), abs=1e-6)
    low, high = wilson_interval(0.0, 100)
    assert (low, high) == (0.0, pytest.approx(0.036994, abs=1e-6))
    assert wilson_interval(1.0, 100) == (pytest.approx(1 - 0.036994, abs=1e-6), 1.0)
    narrow, wide = wilson_interval(0.1, 50), wilson_interval(0.1, 50, degrees=5)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@pytest.mark.parametrize(("degrees", "expected"), [(3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (1e9, 1.96)])
def test_student_quantile(degrees: float, expected: float) -> None:
    assert student_quantile(0.975, degrees) == pytest.approx(expected, rel=0.01)


def test_variance_of_pairs_that_share_people() -> None:
    """Against the sum over all couples of couples that share a person."""
    embeddings, labels = clusters(identities=12, images=3, noise=0.8, seed=2)
    pairs, threshold = all_pairs(embeddings, labels), 0.2
    found = fmr_by_people(pairs, threshold)
    above = embeddings @ embeddings.T > np.float32(threshold)
    couples = [(a, b) for a in range(12) for b in range(a)]
    residuals = {(a, b): float((above[np.ix_(labels == a, labels == b)] - found.rate).sum()) for a, b in couples}
    expected = sum(residuals[one] * residuals[other] for one in couples for other in couples if set(one) & set(other))
    of_person = 3 * 33 / pairs.impostor_pairs  # the jackknife, the same for all of as many images
    assert found.rate == (above[labels[:, None] > labels[None]]).mean()
    assert found.variance == pytest.approx(expected / pairs.impostor_pairs**2 / (1 - of_person) ** 2)


def test_equal_cimat() -> None:
    """cimat 0.1.2 (Fogliato et al.): plug-in variances at 0.5, each impostor pair given under both people."""
    pairs = all_pairs(*clusters())
    fnmr, fmr = fnmr_by_people(pairs, 0.5), fmr_by_people(pairs, 0.5)
    assert (fnmr.rate, fmr.rate) == pytest.approx((0.6166666666666667, 0.019150641025641027))
    # People have the same number of pairs: the jackknife is a factor.
    assert fnmr.variance * (39 / 40) ** 2 == pytest.approx(0.0020555555555555557)
    assert fmr.variance * (38 / 40) ** 2 == pytest.approx(6.54978768132891e-06)
    low, high = fmr.interval()
    assert (low, high) == pytest.approx((0.014740076628441205, 0.024847663006389062), rel=0.06)
    assert low < 0.014740076628441205 < 0.024847663006389062 < high


def test_resamples_of_people_have_the_analytic_variance() -> None:
    pairs = all_pairs(*clusters(identities=100))
    missed = np.bincount(pairs.genuine_identity[pairs.genuine <= 0.4], minlength=100)
    genuine = np.bincount(pairs.genuine_identity, minlength=100)
    draws = draw_people(100, 2000)
    samples = (draws @ missed) / (draws @ genuine)
    analytic = fnmr_by_people(pairs, 0.4)
    assert analytic.resampled(samples).variance == pytest.approx(analytic.variance, rel=0.1)
    assert rate_interval(analytic.rate, samples, 100) == pytest.approx(analytic.interval(), abs=0.005)
    undefined = np.full(3, np.nan)
    assert all(map(math.isnan, rate_interval(0.1, undefined, 100)))
    np.testing.assert_allclose(
        analytic.resampled(np.append(samples, undefined)).variance, analytic.resampled(samples).variance
    )


def test_without_errors_a_person_is_one_trial() -> None:
    found = rate_by_people(np.zeros(50, np.int64), np.full(50, 6))
    assert found.interval() == wilson_interval(0.0, 50)
    assert rate_by_people(np.full(50, 6), np.full(50, 6)).interval() == wilson_interval(1.0, 50)
    left_out = rate_by_people(np.array([1, 2, 0, 0]), np.array([3, 3, 3, 0]))
    assert (left_out.rate, left_out.people) == (3 / 9, 3)


def test_few_people_with_errors_are_few_degrees_of_freedom() -> None:
    normal = np.random.default_rng(0).normal(size=100_000)
    assert degrees_of_freedom(normal, np.ones(len(normal))) == pytest.approx(100_000, rel=0.05)
    assert degrees_of_freedom(np.ones(9), np.array([1000, *[1] * 8])) == pytest.approx(1.0, abs=1e-4)
    one = rate_by_people(np.eye(1, 100, dtype=np.int64)[0] * 3, np.full(100, 6))
    assert one.degrees == pytest.approx(2.0, abs=0.1)
    low, high = one.interval()
    assert low < 0.005 < 0.02 < high


def test_ordered_pairs_are_of_the_same_people() -> None:
    embeddings, labels = clusters(identities=60)
    single, double = (
        make(0.3)
        for make in (
            lambda t: fmr_by_people(all_pairs(embeddings, labels), t),
            lambda t: fmr_by_people(cross_pairs(embeddings, embeddings, labels), t),
        )
    )
    assert double.rate == pytest.approx(single.rate)
    assert double.variance == pytest.approx(single.variance)


def test_thresholds_below_what_is_kept_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efq.toolchain.evaluation.figures.far._KEPT_AT_LEAST", 1)
    pairs = all_pairs(*clusters(), highest_far=1e-3)
    assert false_matches(pairs, float(pairs.impostor[3])) == 3
    with pytest.raises(UsageError):
        fmr_by_people(pairs, 0.0)


def test_recentred_interval_is_about_the_figure() -> None:
    samples = np.append(np.arange(101.0), np.nan)
    assert recentred_interval(3.0, samples, 0.9) == pytest.approx((3.0 - 45.0, 3.0 + 45.0))
    assert math.isnan(recentred_interval(0.1, np.array([np.nan]))[0])


def test_one_pair_makes_no_difference_that_is_told_from_none() -> None:
    """One of 146 pairs, of a person who is drawn 0, 1, 2, ... times; the mean of the samples is below the value."""
    value = 1 / 146
    samples = np.repeat([0.0, value, 2 * value, 3 * value], [80, 73, 36, 11])
    assert recentred_interval(value, samples)[0] > 0
    low, high = difference_interval(value, samples)
    assert low == 0 < value < high
    assert difference_interval(-value, -samples)[1] == 0
    apart = value + samples + 1e-6
    assert difference_interval(2 * value, apart) == recentred_interval(2 * value, apart)
    assert math.isnan(difference_interval(0.1, np.array([np.nan]))[0])
