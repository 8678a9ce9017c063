"""Which batch sizes an engine runs, and how a batch of any size is made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from efq.runtime.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """The batch sizes of an engine's optimization profile."""

    minimum: int
    optimum: int
    maximum: int


def default_buckets(limits: BatchLimits) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24 ... within the limits, and the limits: at most a third of a bucket is padding."""
    sizes = {limits.minimum, limits.optimum, limits.maximum}
    power = 1
    while power <= limits.maximum:
        sizes |= {size for size in (power, power * 3 // 2) if limits.minimum <= size <= limits.maximum}
        power *= 2
    return tuple(sorted(sizes))


def checked_buckets(buckets: Sequence[int], limits: BatchLimits) -> tuple[int, ...]:
    """The buckets in ascending order, each once. Raises UsageError when there is none or one is outside the limits."""
    wrong = [size for size in buckets if not limits.minimum <= size <= limits.maximum]
    if wrong or not buckets:
        message = (
            f"expected batch buckets from {limits.minimum} to {limits.maximum}, the engine's optimization profile, "
            f"found {wrong or 'none'}; choose others, or build the engine with another --batch"
        )
        raise UsageError(message)
    return tuple(sorted(set(buckets)))


def split(count: int, buckets: Sequence[int]) -> Iterator[tuple[slice, int]]:
    """Parts of a batch of `count` images, and the bucket that each runs in.

    As many of the largest bucket as fit, then the smallest bucket that holds the rest: the fewest runs, and padding
    in the last one alone.
    """
    start = 0
    while start < count:
        rest = min(count - start, buckets[-1])
        yield slice(start, start + rest), next(size for size in buckets if size >= rest)
        start += rest
