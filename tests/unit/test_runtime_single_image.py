"""Which threads a single image is given, against times worked out by hand."""

from __future__ import annotations

import pytest

from efq.runtime.backends.threads.single_image import (
    CALLS_BETWEEN_TRIALS,
    SECONDS_BETWEEN_TRIALS,
    TRIAL_CALLS,
    WARM_UP_CALLS,
    SingleImageThreads,
)


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def call(choice: SingleImageThreads, times: dict[bool, float], count: int) -> list[bool]:
    """`count` calls that take `times[all threads]` seconds; which threads each was given."""
    given = []
    for _ in range(count):
        given.append(choice.use_all())
        choice.record(all_threads=given[-1], seconds=times[given[-1]])
    return given


TRIAL = [True] * TRIAL_CALLS + [False] * TRIAL_CALLS


@pytest.mark.parametrize(
    ("all_threads", "one_thread", "chosen"),
    [(0.0010, 0.0020, True), (0.0020, 0.0010, False), (0.00094, 0.001, True), (0.00096, 0.001, False)],
)
def test_the_faster_is_taken_and_one_thread_in_a_tie(all_threads: float, one_thread: float, chosen: bool) -> None:
    choice = SingleImageThreads(Clock())
    assert call(choice, {True: all_threads, False: one_thread}, 100) == TRIAL + [chosen] * (100 - len(TRIAL))


def test_it_is_tried_again_and_may_change() -> None:
    clock = Clock()
    choice = SingleImageThreads(clock)
    now, later = {True: 0.003, False: 0.002}, {True: 0.001, False: 0.002}
    call(choice, now, len(TRIAL))
    clock.now += SECONDS_BETWEEN_TRIALS - 0.1
    assert call(choice, later, CALLS_BETWEEN_TRIALS + 3) == [False] * (CALLS_BETWEEN_TRIALS + 3)
    clock.now += 0.2
    assert call(choice, later, len(TRIAL) + 3) == [*TRIAL, True, True, True]


def test_rare_calls_are_not_spent_on_trials() -> None:
    clock = Clock()
    choice = SingleImageThreads(clock)
    times = {True: 0.003, False: 0.002}
    call(choice, times, len(TRIAL))
    given = []
    for _ in range(CALLS_BETWEEN_TRIALS + 1):
        clock.now += SECONDS_BETWEEN_TRIALS
        given += call(choice, times, 1)
    assert given == [False] * CALLS_BETWEEN_TRIALS + [True]


def test_the_first_calls_of_a_trial_do_not_count() -> None:
    choice = SingleImageThreads(Clock())
    slow = WARM_UP_CALLS + 3  # of which those that count are fewer than half
    call(choice, {True: 0.004, False: 0.002}, slow)
    call(choice, {True: 0.001, False: 0.002}, len(TRIAL) - slow)
    assert choice.use_all()


def test_a_large_network_is_never_tried_on_one_thread() -> None:
    clock = Clock()
    choice = SingleImageThreads(clock)
    assert all(call(choice, {True: 0.006, False: 0.001}, TRIAL_CALLS + CALLS_BETWEEN_TRIALS))
    clock.now += 1e6
    assert all(call(choice, {True: 0.006, False: 0.001}, TRIAL_CALLS + CALLS_BETWEEN_TRIALS))


def test_a_small_network_that_was_slow_for_a_while_is_tried_later() -> None:
    clock = Clock()
    choice = SingleImageThreads(clock)
    call(choice, {True: 0.1, False: 0.1}, TRIAL_CALLS + CALLS_BETWEEN_TRIALS)
    clock.now += SECONDS_BETWEEN_TRIALS
    assert call(choice, {True: 0.002, False: 0.001}, len(TRIAL) + 1) == [*TRIAL, False]


def test_calls_at_once_that_end_out_of_turn() -> None:
    """Calls for all threads that were under way when the other half of the trial began count for what they were."""
    choice = SingleImageThreads(Clock())
    under_way = [choice.use_all() for _ in range(TRIAL_CALLS + 4)]
    assert all(under_way)
    for _ in under_way:
        choice.record(all_threads=True, seconds=0.002)
    assert call(choice, {True: 0.002, False: 0.001}, TRIAL_CALLS + 1) == [False] * (TRIAL_CALLS + 1)
