"""Latency of several networks, timed in turn in one run so that all see the same state of the machine."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import UsageError

MINIMUM_ROUNDS = 10

SETTLE_SECONDS = 0.04
"""How long networks on several threads run before a timed call, see `measure`."""

SPIN_SECONDS = 0.05
"""How long nothing runs before that: ONNX Runtime's threads wait in a loop after their last work, here for 33 ms."""


class Timed(Protocol):
    """What can be timed: `prepare` is left out of the time, `run` is timed."""

    def prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """The input `run` takes, from uint8 images (N, H, W, 3)."""

    def run(self, prepared: NDArray[Any]) -> object:
        """One inference."""


@runtime_checkable
class SelfTimed(Protocol):
    """What runs in a process of its own, and times itself there."""

    def timed_run(self, prepared: NDArray[Any]) -> float:
        """One inference; returns how long it took, in seconds."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Latency:
    """The times of one network at one batch size.

    `p50_ms`, `p95_ms`, `p99_ms`: percentiles of a call's time, milliseconds a batch. `images_per_second`: batch size
    divided by the mean time of a call. `speedup`: median over rounds of the reference's time divided by this
    network's time in the same round (above 1 is faster than the reference), `speedup_quartiles` its 25th and 75th
    percentile.
    """

    network: str
    batch: int
    rounds: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    speedup: float
    speedup_quartiles: tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LatencySetting:
    """All networks' latency at one number of threads and one batch size, measured in turn in one run."""

    threads: int
    batch: int
    networks: tuple[Latency, ...]


def measure(
    candidates: Mapping[str, Timed],
    batches: Sequence[NDArray[np.uint8]],
    *,
    reference: str,
    rounds: int = 200,
    warm_up: int = 10,
    seconds: float | None = None,
    settle: float = 0.0,
    on_round: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Latency]:
    """Time every candidate once a round, for `rounds` rounds after `warm_up` untimed ones.

    The order is rotated every round (A B C, B C A, C A B, ...), so that no candidate always follows the same one.
    Before its timed call a candidate has untimed ones for `settle` seconds, one at least: they bring its weights and
    code back into the caches that the others have filled, as they are in a service that runs one network, and wake its
    threads. Where it settles, nothing runs for `SPIN_SECONDS` before, until threads of the others no longer wait in a
    loop: what a network chooses by its own times it then chooses as if it were alone.
    Round i feeds `batches[i % len(batches)]`, uint8 (batch, H, W, 3), to all: use different real faces, since float
    kernels that branch on the data (PReLU) are far too fast on constant images. With a budget of `seconds` (timed
    rounds and preparation) the run stops early, but never under 10 rounds. `on_round` is called after each round.

    Returns one `Latency` a candidate, in the order given. Raises UsageError when `reference` is no candidate, when
    there are no batches or they differ in shape, or when `rounds` is not positive.
    """
    if reference not in candidates:
        message = f"expected the reference to be one of {sorted(candidates)}, found {reference!r}"
        raise UsageError(message)
    times = time_in_turn(
        candidates,
        batches,
        rounds=rounds,
        warm_up=warm_up,
        seconds=seconds,
        settle=settle,
        on_round=on_round,
        clock=clock,
    )
    return summarize(times, reference=reference, batch=len(batches[0]))


def time_in_turn(
    candidates: Mapping[str, Timed],
    batches: Sequence[NDArray[np.uint8]],
    *,
    rounds: int,
    warm_up: int = 10,
    seconds: float | None = None,
    settle: float = 0.0,
    on_round: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """The times of `measure` as they are, in seconds of `clock`; round i of every candidate belongs together."""
    _check(batches, rounds)
    for number in range(warm_up):
        for candidate in candidates.values():
            _run_for(settle, candidate, candidate.prepare(batches[number % len(batches)]))
    times: dict[str, list[float]] = {name: [] for name in candidates}
    start = clock()
    with _garbage_collection_paused():
        for number in range(rounds):
            images = batches[number % len(batches)]
            for name in rotated(list(candidates), number):
                prepared = candidates[name].prepare(images)
                _run_for(settle, candidates[name], prepared)
                times[name].append(_time_one(candidates[name], prepared, clock))
            on_round()
            if seconds is not None and number + 1 >= MINIMUM_ROUNDS and clock() - start >= seconds:
                break
    return times


def summarize(times: Mapping[str, Sequence[float]], *, reference: str, batch: int) -> list[Latency]:
    """The statistics of per-round times in seconds; round i of every network belongs together."""
    baseline = np.asarray(times[reference], np.float64)
    summaries = []
    for name, values in times.items():
        seconds = np.asarray(values, np.float64)
        p50, p95, p99 = (float(value) for value in np.percentile(seconds * 1e3, [50, 95, 99]))
        low, middle, high = (float(value) for value in np.percentile(baseline / seconds, [25, 50, 75]))
        summaries.append(
            Latency(
                network=name,
                batch=batch,
                rounds=len(seconds),
                p50_ms=p50,
                p95_ms=p95,
                p99_ms=p99,
                images_per_second=float(batch / seconds.mean()),
                speedup=middle,
                speedup_quartiles=(low, high),
            )
        )
    return summaries


def rotated(names: Sequence[str], number: int) -> list[str]:
    """`names` beginning with the one whose turn it is in round `number`."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def draw_batches(
    images: NDArray[np.uint8], batch: int, *, count: int = 64, seed: int = 0, megabytes: int = 64
) -> list[NDArray[np.uint8]]:
    """Up to `count` batches of randomly drawn images, uint8 (batch, H, W, 3) each, in at most `megabytes` of memory.

    Images are drawn without repetition as long as there are enough of them.
    """
    count = max(1, min(count, megabytes * 2**20 // (batch * images[0].nbytes)))
    random = np.random.default_rng(seed)
    repeats = -(-count * batch // len(images))
    order = np.concatenate([random.permutation(len(images)) for _ in range(repeats)])
    return [np.ascontiguousarray(images[np.sort(order[i * batch : (i + 1) * batch])]) for i in range(count)]


def _run_for(seconds: float, candidate: Timed, prepared: NDArray[Any]) -> None:
    """Run for at least `seconds`, at least once; where that is not 0, after the others' threads have stopped."""
    if seconds > 0:
        time.sleep(SPIN_SECONDS)
    start = time.perf_counter()
    candidate.run(prepared)
    while time.perf_counter() - start < seconds:
        candidate.run(prepared)


def _time_one(candidate: Timed, prepared: NDArray[Any], clock: Callable[[], float]) -> float:
    if isinstance(candidate, SelfTimed):
        return candidate.timed_run(prepared)
    start = clock()
    candidate.run(prepared)
    return clock() - start


def _check(batches: Sequence[NDArray[np.uint8]], rounds: int) -> None:
    shapes = {batch.shape for batch in batches}
    if len(shapes) != 1:
        message = f"expected at least one batch of images, all of one shape; found shapes {sorted(shapes)}"
        raise UsageError(message)
    if rounds < 1:
        message = f"expected a positive number of rounds, found {rounds}"
        raise UsageError(message)


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
