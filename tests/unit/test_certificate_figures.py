"""What a certificate measures, on scores and embeddings small enough to count by hand."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.runtime.certificate.binding import Binding
from efq.runtime.certificate.certificate import ARRANGEMENTS, Certificate
from efq.runtime.errors import InputError, UsageError
from efq.toolchain.evaluation.certificate.calibration import calibrate, fit_logistic
from efq.toolchain.evaluation.certificate.certify import Certified, certify
from efq.toolchain.evaluation.certificate.cohort_file import CohortLabels
from efq.toolchain.evaluation.certificate.matching import match_threshold
from efq.toolchain.evaluation.certificate.resamples import Resamples
from efq.toolchain.evaluation.certificate.scores import Scores, TwoNetworks, score
from efq.toolchain.evaluation.certificate.searches import search_figures, split_searches
from efq.toolchain.evaluation.certificate.verdicts import count_flips
from efq.toolchain.evaluation.figures.error_rates import histogram_of_scores
from efq.toolchain.evaluation.figures.far import AllPairs

Embeddings = NDArray[np.float32]
NO_DRAWS = np.empty((0, 2), np.int64)
BINDING = Binding(
    artifact="tiny", target="ort-cpu", backend="onnxruntime", model_sha256="a" * 64, teacher="tiny",
    teacher_sha256="b" * 64, student_sha256=None, machine="a CPU", machine_class="no VNNI", tools={},
)  # fmt: skip


def angles(degrees: list[float]) -> Embeddings:
    """Unit vectors in a plane, whose cosines one can look up."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def impostors(scores: NDArray[np.float64]) -> AllPairs:
    """Impostor pairs of two people, highest first, of many more that are not kept."""
    kept = np.sort(scores)[::-1].astype(np.float32)
    return AllPairs(
        genuine=np.ones(1, np.float32),
        genuine_identity=np.zeros(1, np.int64),
        impostor=kept,
        impostor_identities=np.tile(np.array([[0, 1]], np.int32), (len(kept), 1)),
        impostor_pairs=100_000,
        identity_sizes=np.array([200, 500]),
    )


def test_a_threshold_is_matched_rank_by_rank() -> None:
    """Teacher's impostors 0.900, 0.899, ...; the student's lie at half of them, so that 0.85 becomes 0.425."""
    teacher, student = (impostors(scale * np.linspace(0.401, 0.9, 500)) for scale in (1.0, 0.5))
    matched = match_threshold(teacher, student, 0.8505, NO_DRAWS)
    assert matched.threshold == pytest.approx(0.42525, abs=1e-5)
    assert (matched.method, matched.false_matches) == ("quantile", 50)
    assert (student.impostor > matched.threshold).sum() == 50
    assert match_threshold(teacher, teacher, 0.8123, NO_DRAWS).threshold == pytest.approx(0.8123, abs=1e-6)


def test_few_impostors_move_a_threshold_by_as_much_as_thirty_do() -> None:
    """Above 0.8955 are five. At rank 30 (from 0) the networks lie at 0.870 and 0.435."""
    teacher, student = (impostors(scale * np.linspace(0.401, 0.9, 500)) for scale in (1.0, 0.5))
    matched = match_threshold(teacher, student, 0.8955, NO_DRAWS)
    assert (matched.method, matched.false_matches) == ("shifted", 5)
    assert matched.threshold == pytest.approx(0.8955 - 0.435, abs=1e-5)
    assert match_threshold(teacher, student, 0.99, NO_DRAWS).false_matches == 0


@pytest.mark.parametrize("threshold", [0.0, -1.0, 0.3])
def test_a_threshold_that_accepts_many_impostors_is_refused(threshold: float) -> None:
    teacher = impostors(np.linspace(0.1, 0.9, 2000))
    with raises_naming(UsageError, f"{threshold:g}", 0.01, "100,000"):
        match_threshold(teacher, teacher, threshold, NO_DRAWS)


def test_scores_are_of_all_pairs_and_ordered_where_mixed() -> None:
    """Persons a (0, 10 degrees), b (60), by the student a (0, 20), b (60)."""
    networks = TwoNetworks(teacher=angles([0, 10, 60]), student=angles([0, 20, 60]), labels=np.array([5, 5, 9]))
    alone = score(networks, "teacher", "teacher", floor=-1)
    assert alone.genuine_ends.tolist() == [[0, 1]]
    assert np.degrees(np.arccos(alone.genuine)) == pytest.approx([10], abs=1e-2)
    assert sorted(np.degrees(np.arccos(alone.impostor)).round(2)) == [50, 60]
    mixed = score(networks, "teacher", "student", floor=-1)
    assert np.degrees(np.arccos(mixed.genuine)).round(2).tolist() == [20, 10]  # 0 with 20, and 10 with 0
    found = {tuple(ends): round(math.degrees(math.acos(value))) for ends, value in zip(
        mixed.impostor_ends.tolist(), mixed.impostor.tolist(), strict=True
    )}  # fmt: skip
    assert found == {(0, 2): 60, (1, 2): 50, (2, 0): 60, (2, 1): 40}
    assert len(score(networks, "teacher", "student", floor=math.cos(math.radians(45))).impostor) == 1


def scores(genuine: list[float], impostor: dict[tuple[int, int], float]) -> Scores:
    """Persons a (images 0, 1), b (2, 3), c (4): genuine pairs (0, 1) and (2, 3)."""
    return Scores(
        ordered=False,
        floor=0.0,
        genuine_ends=np.array([[0, 1], [2, 3]]),
        genuine=np.array(genuine, np.float32),
        impostor_ends=np.array(list(impostor), np.int64).reshape(-1, 2),
        impostor=np.array(list(impostor.values()), np.float32),
    )


def test_flips_are_counted_in_both_directions() -> None:
    """At 0.5: (0, 1) is lost, (2, 3) gained, impostors (0, 2) kept, (0, 4) lost, (1, 4) and (3, 4) gained."""
    resamples = Resamples(np.array([0, 0, 1, 1, 2]), resamples=50, seed=0)
    teacher = scores([0.6, 0.4], {(0, 2): 0.6, (0, 4): 0.7, (1, 4): 0.2})
    student = scores([0.5, 0.8], {(0, 2): 0.7, (1, 4): 0.6, (3, 4): 0.9})
    found = count_flips(teacher, 0.5, student, 0.5, resamples, 0.95)
    assert (found.genuine_lost, found.genuine_gained) == (1, 1)
    assert (found.impostor_lost, found.impostor_gained) == (1, 2)
    assert found.genuine.value == 1.0
    assert found.impostor.value == pytest.approx(3 / 8)
    assert found.all_pairs.value == pytest.approx(5 / 10)
    remapped = count_flips(teacher, 0.5, student, 0.65, resamples, 0.95)
    assert (remapped.genuine_lost, remapped.genuine_gained, remapped.impostor_lost, remapped.impostor_gained) == (
        1, 1, 1, 1,
    )  # fmt: skip
    none = count_flips(teacher, 0.5, teacher, 0.5, resamples, 0.95)
    assert (none.all_pairs.value, none.all_pairs.low) == (0.0, 0.0)


def test_shares_count_resampled_people_as_often_as_they_were_drawn() -> None:
    """a is drawn twice, c once: of the impostor pairs a-c (2 * 2 * 1 = 4 of 4) one of each copy is an event."""
    resamples = Resamples(np.array([0, 0, 1, 1, 2]), resamples=1, seed=0)
    resamples.draws = np.array([[2, 0, 1]])
    sizes = np.array([2, 2, 1])
    share = resamples.of_impostors(np.array([[0, 2], [1, 2]]), sizes, ordered=False)
    assert (share.value, share.samples.tolist()) == (2 / 8, [2 * 1 / 4])
    genuine = resamples.of_people(np.array([1, 0, 0]), np.array([1, 1, 0]))
    assert (genuine.value, genuine.samples.tolist(), genuine.people) == (0.5, [1.0], 2)
    both = resamples.of_all(genuine, np.array([1, 1, 0]), share, sizes)
    assert (both.value, both.samples.tolist()) == (3 / 10, [(2 + 2) / (2 + 4)])


def test_searches_in_mixed_galleries() -> None:
    """Twelve people around the circle with three images each, every third not enrolled; the student errs on one."""
    labels = np.repeat(np.arange(12), 3)
    places = np.repeat(np.arange(12) * 30.0, 3) + np.tile([0.0, 1.0, 2.0], 12)
    student = places.copy()
    student[5] += 60.0  # an image of person 1, now beside person 3, who is not enrolled, between 2 and 4
    networks = TwoNetworks(teacher=angles(places.tolist()), student=angles(student.tolist()), labels=labels)
    split = split_searches(labels)
    assert split is not None
    assert labels[split.enrolled].tolist() == [1, 2, 4, 5, 7, 8, 10, 11]
    assert (int(split.mated.sum()), len(split.probes)) == (16, 28)
    found = search_figures(networks, split, Resamples(labels, resamples=20, seed=0), 0.95)
    rank1 = {place: one.rank1.value for place, one in found.items()}
    assert rank1 == {
        ("teacher", "teacher"): 1.0, ("student", "student"): 15 / 16,
        ("teacher", "student"): 15 / 16, ("student", "teacher"): 1.0,
    }  # fmt: skip
    assert found["teacher", "student"].rank1_drop.value == pytest.approx(1 / 16)
    # Non-mated searches are 28 to 30 degrees from the next who is enrolled: one of twelve may be above the threshold.
    for place, one in found.items():
        missed = 1 / 16 if place[1] == "student" else 0.0
        assert [point.fnir.value for point in one.points] == [missed] * 3
        assert one.unchanged.fpir <= 0.1
    assert found["teacher", "teacher"].points[0].threshold == pytest.approx(math.cos(math.radians(28)), abs=1e-5)


def test_people_with_one_image_are_searched_for_but_not_enrolled() -> None:
    labels = np.array([3, *range(10, 22), 3, *[4] * 10])
    split = split_searches(labels)
    assert split is not None
    assert split.enrolled.tolist() == [0, 14]
    assert int((~split.mated).sum()) == 12
    assert split_searches(np.array([0, 0, 1, 1])) is None


def test_logistic_regression_is_scikit_learns() -> None:
    """LogisticRegression(C=1e9, tol=1e-12) of scikit-learn 1.9.1 on the middles of 64 bins, weighted: written down."""
    generator = np.random.default_rng(0)
    genuine, impostor = generator.normal(0.5, 0.2, 400), generator.normal(0.0, 0.15, 3000)
    found = histogram_of_scores(genuine, impostor, bins=64)
    slope, offset = fit_logistic(found, 0.5)
    assert (slope, offset) == pytest.approx((16.48174, -3.69289), rel=1e-4)


def test_scores_that_do_not_overlap_have_a_finite_slope() -> None:
    found = histogram_of_scores(np.full(50, 0.9), np.full(50, -0.9))
    slope, offset = fit_logistic(found, 0.5)
    assert 5 < slope < 1000
    assert offset == pytest.approx(0, abs=1e-3)


def drawn_networks(noise: float, *, seed: int = 0) -> tuple[Embeddings, Embeddings, NDArray[np.int64]]:
    """Teacher and student of 40 people with one image, 40 with three and 4 with eight."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(84), [*[1] * 40, *[3] * 40, *[8] * 4])
    teacher = generator.normal(size=(84, 24))[labels] + 0.8 * generator.normal(size=(len(labels), 24))
    student = teacher + noise * generator.normal(size=teacher.shape)
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (teacher, student)]
    return unit[0].astype(np.float32), unit[1].astype(np.float32), labels


def certificate_of(noise: float, **changes: object) -> Certificate:
    teacher, student, labels = drawn_networks(noise)
    found = Certified(
        teacher=teacher, student=student, labels=labels, faces="drawn", faces_sha256=None, attempts=len(labels) + 2,
        failures_to_enrol=2,
    )  # fmt: skip
    return certify(dataclasses.replace(found, **changes), BINDING, "2026-01-02", resamples=30)  # type: ignore[arg-type]


def test_a_copy_of_the_teacher_costs_nothing() -> None:
    found = certificate_of(0.0)
    assert found.cosine.least == pytest.approx(1, abs=1e-6)
    assert [drop.drop.value for drop in found.drops] == [0.0] * len(found.drops)
    assert found.deployed.remapped.threshold == found.deployed.threshold
    assert found.deployed.flips_remapped.all_pairs.value == 0.0
    assert found.teacher == found.student
    for one in found.galleries:
        assert all(drop.value == 0.0 for drop in one.drops)
        assert one.remapped.fnmr.value == found.galleries[0].remapped.fnmr.value
        assert one.search is not None
        assert one.search.rank1_drop.value == 0.0
    assert Certificate.from_json(found.to_json()) == found


def test_a_certificate_is_what_a_direct_count_says() -> None:
    teacher, student, labels = drawn_networks(0.5)
    upper = np.triu_indices(len(labels), 1)
    same = labels[upper[0]] == labels[upper[1]]
    before, now = ((vectors @ vectors.T)[upper] for vectors in (teacher, student))
    found = certificate_of(0.5, deployed=0.5)
    deployed = found.deployed
    assert deployed.stated
    assert deployed.false_matches == (before[~same] > np.float32(0.5)).sum()
    accepted = {
        "teacher": before > np.float32(0.5),
        "unchanged": now > np.float32(0.5),
        "remapped": now > np.float32(deployed.remapped.threshold),
    }
    assert accepted["remapped"][~same].sum() == deployed.false_matches
    for name, decisions in accepted.items():
        rates = getattr(deployed, name)
        assert rates.fmr.value == pytest.approx(decisions[~same].mean(), rel=1e-5)
        assert rates.fnmr.value == pytest.approx(1 - decisions[same].mean(), rel=1e-5)
    for name, flips in (("unchanged", deployed.flips_unchanged), ("remapped", deployed.flips_remapped)):
        lost, gained = accepted["teacher"] & ~accepted[name], ~accepted["teacher"] & accepted[name]
        assert flips.genuine_lost, flips.genuine_gained == ((lost & same).sum(), (gained & same).sum())
        assert flips.impostor_lost, flips.impostor_gained == ((lost & ~same).sum(), (gained & ~same).sum())
        assert flips.all_pairs.value == pytest.approx((lost | gained).mean(), rel=1e-5)
        assert flips.genuine.low is not None
        assert flips.genuine.high is not None
        assert flips.genuine.low < flips.genuine.value < flips.genuine.high
    crossed = teacher @ student.T
    other = ~np.eye(len(labels), dtype=bool)
    alike = labels[:, None] == labels
    mixed = found.arrangement("teacher", "student")
    assert mixed.unchanged.fmr.value == pytest.approx((crossed[other & ~alike] > np.float32(0.5)).mean(), rel=1e-5)
    assert mixed.unchanged.fnmr.value == pytest.approx((crossed[other & alike] <= np.float32(0.5)).mean(), rel=1e-5)
    assert mixed.remapped.fmr.value <= deployed.teacher.fmr.value
    assert found.protocol.genuine_pairs == same.sum() == sum(found.student.histogram.genuine)
    assert (found.protocol.attempts, found.protocol.failures_to_enrol) == (len(labels) + 2, 2)


def test_cohorts_are_of_pairs_within_them_at_one_threshold() -> None:
    """By image: of a person with images of two cohorts neither has the pair."""
    teacher, student, labels = drawn_networks(0.5)
    places = np.arange(len(labels)) % 3 - 1  # a third is of no cohort
    cohorts = CohortLabels(file="c.csv", sha256="c" * 64, names=("even", "odd"), places=places)
    found = certificate_of(0.5, deployed=0.5, cohorts=cohorts)
    assert found.cohorts is not None
    assert found.cohorts.without == (places < 0).sum()
    assert found.cohorts.thresholds[0] == 0.5
    assert found.cohorts.thresholds[1] == found.deployed.remapped.threshold
    for place, cohort in enumerate(found.cohorts.cohorts):
        inside = np.flatnonzero(places == place)
        upper = np.triu_indices(len(inside), 1)
        same = labels[inside][upper[0]] == labels[inside][upper[1]]
        assert (cohort.images, cohort.genuine_pairs, cohort.impostor_pairs) == (
            len(inside), same.sum(), (~same).sum(),
        )  # fmt: skip
        for vectors, rates, threshold in (
            (teacher, cohort.rates[0], 0.5),
            (student, cohort.rates[1], found.deployed.remapped.threshold),
        ):
            accepted = (vectors[inside] @ vectors[inside].T)[upper] > np.float32(threshold)
            assert (rates.false_matches, rates.false_non_matches) == (
                accepted[~same].sum(), (~accepted[same]).sum(),
            )  # fmt: skip
            assert rates.fnmr is not None
            assert rates.fnmr.value == pytest.approx(1 - accepted[same].mean(), rel=1e-5)
            assert rates.few_false_matches == (rates.false_matches < 30)
        assert [(one.gallery, one.probes) for one in cohort.rates] == list(ARRANGEMENTS)


def test_reliability_is_of_all_pairs_within_the_halves() -> None:
    teacher, _, labels = drawn_networks(0.0)
    found = calibrate(teacher, labels)
    assert sum(one.weight for one in found.bins) == pytest.approx(1, abs=1e-4)
    assert sum(one.genuine for one in found.bins) == 40 * 3 + 4 * 28
    assert found.expected_error < 0.05
    with raises_naming(InputError, 1, "two images"):
        calibrate(teacher[:43], labels[:43])


def test_what_cannot_be_certified_is_refused() -> None:
    teacher, student, labels = drawn_networks(0.1)
    with raises_naming(UsageError, len(labels), 24, 12):
        narrow = student[:, :12] / np.linalg.norm(student[:, :12], axis=1, keepdims=True)
        certificate_of(0.1, student=narrow)
    with raises_naming(InputError, "3,000", "--faces"):
        few = np.flatnonzero(labels >= 70)
        certificate_of(0.1, teacher=teacher[few], student=student[few], labels=labels[few])
    with pytest.raises(UsageError):
        certificate_of(0.1, deployed=0.0)
