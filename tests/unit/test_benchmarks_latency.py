"""Interleaved timing, on a clock that the candidates move themselves."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from messages import raises_naming
from numpy.typing import NDArray

from efq.benchmarks.timing.latency import SPIN_SECONDS, draw_batches, measure, rotated, summarize
from efq.runtime.errors import UsageError


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Sleeper:
    """Takes a fixed time a call, and ten times that to prepare, which must not be counted."""

    def __init__(self, clock: Clock, seconds: float, calls: list[str], name: str) -> None:
        self.clock, self.seconds, self.calls, self.name = clock, seconds, calls, name
        self.first_pixels: list[int] = []

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        self.clock.now += self.seconds * 10
        return images

    def run(self, prepared: NDArray[Any]) -> None:
        self.calls.append(self.name)
        self.first_pixels.append(int(prepared.flat[0]))
        self.clock.now += self.seconds


def sleepers(clock: Clock, **seconds: float) -> tuple[dict[str, Sleeper], list[str]]:
    calls: list[str] = []
    return {name: Sleeper(clock, value, calls, name) for name, value in seconds.items()}, calls


def batches(count: int = 3) -> list[NDArray[np.uint8]]:
    return [np.full((2, 4, 4, 3), i, np.uint8) for i in range(count)]


def test_order_rotates_and_every_candidate_sees_the_same_images() -> None:
    clock = Clock()
    candidates, calls = sleepers(clock, a=1.0, b=1.0, c=1.0)
    measure(candidates, batches(), reference="a", rounds=3, warm_up=0, clock=clock)
    assert "".join(calls) == "aabbcc" + "bbccaa" + "ccaabb"
    assert all(candidate.first_pixels == [0, 0, 1, 1, 2, 2] for candidate in candidates.values())


class SlowWhenCold(Sleeper):
    """Takes ten times as long when another candidate ran before it."""

    def run(self, prepared: NDArray[Any]) -> None:
        cold = not self.calls or self.calls[-1] != self.name
        super().run(prepared)
        self.clock.now += 9 * self.seconds if cold else 0.0


def test_what_other_candidates_left_in_the_caches_is_not_timed() -> None:
    clock, calls = Clock(), list[str]()
    candidates = {name: SlowWhenCold(clock, 0.001, calls, name) for name in "ab"}
    for latency in measure(candidates, batches(), reference="a", rounds=10, warm_up=0, clock=clock):
        assert latency.p99_ms == pytest.approx(1.0)


def test_candidates_run_untimed_for_as_long_as_they_have_to_settle() -> None:
    clock = Clock()
    candidates, calls = sleepers(clock, a=0.001, b=0.002)
    start = time.perf_counter()
    a, b = measure(candidates, batches(), reference="a", rounds=2, warm_up=1, settle=0.01, clock=clock)
    assert time.perf_counter() - start >= 2 * (1 + 2) * (SPIN_SECONDS + 0.01)
    assert len(calls) > 2 * 2 * (1 + 2)
    assert (a.rounds, b.rounds) == (2, 2)
    assert b.p99_ms == pytest.approx(2.0)


def test_times_exclude_preparation_and_warm_up() -> None:
    clock = Clock()
    candidates, calls = sleepers(clock, teacher=0.004, student=0.001)
    teacher, student = measure(candidates, batches(), reference="teacher", rounds=20, warm_up=5, clock=clock)
    assert len(calls) == 2 * (5 + 2 * 20)
    assert (teacher.rounds, student.batch) == (20, 2)
    assert teacher.p50_ms == pytest.approx(4.0)
    assert student.p99_ms == pytest.approx(1.0)
    assert student.images_per_second == pytest.approx(2000.0)
    assert teacher.speedup == 1.0
    assert student.speedup == pytest.approx(4.0)


def test_speedup_is_the_median_of_paired_ratios() -> None:
    # The machine is half as fast in the second half of the run: pairs keep the ratio of 2, with one outlier.
    times = {"teacher": [2.0, 2.0, 4.0, 4.0, 4.0], "student": [1.0, 1.0, 2.0, 2.0, 1.0]}
    _, student = summarize(times, reference="teacher", batch=1)
    assert student.speedup == 2.0
    assert student.speedup_quartiles == (2.0, 2.0)
    assert student.p50_ms == 1000.0
    assert student.images_per_second == pytest.approx(5 / 7)


def test_a_time_budget_ends_the_run_after_at_least_ten_rounds() -> None:
    clock = Clock()
    candidates, _ = sleepers(clock, slow=1.0)
    (latency,) = measure(candidates, batches(), reference="slow", rounds=200, warm_up=0, seconds=5.0, clock=clock)
    assert latency.rounds == 10


def test_bad_requests_are_usage_errors() -> None:
    candidates, _ = sleepers(Clock(), a=1.0)
    with raises_naming(UsageError, "reference", "'a'", "'b'"):
        measure(candidates, batches(), reference="b")
    with raises_naming(UsageError, "rounds", 0):
        measure(candidates, batches(), reference="a", rounds=0)
    with raises_naming(UsageError, "batch", "[]"):
        measure(candidates, [], reference="a")


def test_rotated() -> None:
    assert [rotated("abc", number) for number in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]


def test_drawn_batches_differ_and_repeat_images_only_when_they_must() -> None:
    images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1).repeat(3, axis=3)
    drawn = draw_batches(images, 4, count=3)
    assert sorted(np.concatenate(drawn)[:, 0, 0, 0].tolist()) == list(range(12))
    assert [batch.shape for batch in draw_batches(images[:2], 8, count=2)] == [(8, 1, 1, 3)] * 2
    assert len(draw_batches(np.zeros((1, 112, 112, 3), np.uint8), 32, megabytes=3)) == 2
