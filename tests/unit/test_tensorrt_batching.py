from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime import UsageError
from efq.runtime.tensorrt.run.batching import BatchLimits, checked_buckets, default_buckets, split

SIZES = st.lists(st.integers(1, 300), min_size=3, max_size=3).map(sorted)


def limits(minimum: int, optimum: int, maximum: int) -> BatchLimits:
    return BatchLimits(minimum=minimum, optimum=optimum, maximum=maximum)


def test_default_buckets_of_common_profiles() -> None:
    assert default_buckets(limits(1, 8, 64)) == (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
    assert default_buckets(limits(5, 10, 20)) == (5, 6, 8, 10, 12, 16, 20)
    assert default_buckets(limits(7, 7, 7)) == (7,)


@given(SIZES)
def test_default_buckets_hold_the_limits_and_waste_at_most_a_third(sizes: list[int]) -> None:
    found = limits(*sizes)
    buckets = default_buckets(found)
    assert set(sizes) <= set(buckets)
    assert list(buckets) == sorted(set(buckets))
    assert all(found.minimum <= size <= found.maximum for size in buckets)
    for count in range(found.minimum, found.maximum + 1):
        bucket = next(size for size in buckets if size >= count)
        assert 3 * (bucket - count) < bucket


@given(st.integers(1, 2000), SIZES)
def test_split_covers_every_image_once_in_the_fewest_runs(count: int, sizes: list[int]) -> None:
    buckets = default_buckets(limits(*sizes))
    parts = list(split(count, buckets))
    covered = [index for part, _ in parts for index in range(part.start, part.stop)]
    assert covered == list(range(count))
    assert all(part.stop - part.start <= bucket and bucket in buckets for part, bucket in parts)
    assert len(parts) == -(-count // buckets[-1])
    assert all(part.stop - part.start == bucket for part, bucket in parts[:-1])


def test_chosen_buckets_are_sorted_and_held_against_the_limits() -> None:
    assert checked_buckets([8, 1, 8], limits(1, 4, 8)) == (1, 8)
    for wrong, found in (([], ()), ([0], (0,)), ([9], (9,)), ([1, 9], (9,))):
        with raises_naming(UsageError, 1, 8, *found, "--batch"):
            checked_buckets(wrong, limits(1, 4, 8))
