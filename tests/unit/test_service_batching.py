"""Faces of many requests in batches: what is gathered, what is dropped, what ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import pytest
from numpy.typing import NDArray

from efq.runtime.errors import IncompatibleArtifactError, InputError, UsageError
from efq.runtime.service.batching import Batcher, DeadlinePassedError, QueueFullError

SECONDS = 10.0


def faces(*values: int) -> NDArray[np.uint8]:
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


def means(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A face's own value, twice."""
    return (
        np.repeat(images.reshape(len(images), -1).mean(axis=1, dtype=np.float64), 2).reshape(-1, 2).astype(np.float32)
    )


class Gate:
    """An `embed` that waits until it is opened, and keeps what it was given."""

    def __init__(self, inner: Callable[[NDArray[np.uint8]], NDArray[np.float32]] = means) -> None:
        self.opened, self.entered = threading.Event(), threading.Semaphore(0)
        self.batches: list[list[int]] = []
        self._inner = inner

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.batches.append([int(image[0, 0, 0]) for image in images])
        self.entered.release()
        assert self.opened.wait(SECONDS)
        return self._inner(images)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def busy(gate: Gate) -> Iterator[Batcher]:
    """One worker, which is computing the face 255."""
    with Batcher(gate, most=4, queue=8) as batcher:
        batcher.submit(faces(255))
        assert gate.entered.acquire(timeout=SECONDS)
        yield batcher
        gate.opened.set()


def rows(future: Future[NDArray[np.float32]]) -> list[float]:
    return future.result(SECONDS)[:, 0].tolist()


def test_each_request_gets_its_own_rows() -> None:
    with Batcher(means, workers=3, most=4, queue=1_000) as batcher:
        futures = [batcher.submit(faces(*range(start, start + 3))) for start in range(0, 240, 3)]
        for start, future in zip(range(0, 240, 3), futures, strict=True):
            assert rows(future) == [start, start + 1, start + 2]


def test_computes_at_once_when_a_worker_is_free(gate: Gate) -> None:
    gate.opened.set()
    with Batcher(gate, most=4) as batcher:
        assert rows(batcher.submit(faces(7))) == [7]
    assert gate.batches == [[7]]


def test_gathers_what_comes_while_workers_compute(gate: Gate, busy: Batcher) -> None:
    futures = [busy.submit(faces(value)) for value in range(6)]
    gate.opened.set()
    assert [rows(future) for future in futures] == [[value] for value in range(6)]
    assert gate.batches == [[255], [0, 1, 2, 3], [4, 5]]


def test_a_large_request_holds_up_no_small_one(gate: Gate, busy: Batcher) -> None:
    large, small = busy.submit(faces(0, 1, 2, 3, 4, 5)), busy.submit(faces(100))
    gate.opened.set()
    assert rows(small) == [100]
    assert rows(large) == [0, 1, 2, 3, 4, 5]
    assert gate.batches[1] == [0, 100, 1, 2]


def test_idle_workers_share_what_is_there(gate: Gate) -> None:
    with Batcher(gate, workers=2, most=8) as batcher:
        deadline = time.monotonic() + SECONDS
        while batcher._idle < 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        future = batcher.submit(faces(0, 1, 2, 3))
        for _ in range(2):
            assert gate.entered.acquire(timeout=SECONDS)
        gate.opened.set()
        assert rows(future) == [0, 1, 2, 3]
    assert sorted(map(len, gate.batches)) == [2, 2]


def test_refuses_what_has_no_place(gate: Gate, busy: Batcher) -> None:
    kept = busy.submit(faces(*range(8)))
    with pytest.raises(QueueFullError):
        busy.submit(faces(9))
    assert busy.waiting == 8
    gate.opened.set()
    assert len(rows(kept)) == 8
    assert busy.waiting == 0


def test_drops_what_is_past_its_deadline(gate: Gate, busy: Batcher) -> None:
    late = busy.submit(faces(1, 2), deadline=time.monotonic() - 1)
    other = busy.submit(faces(3))
    gate.opened.set()
    assert rows(other) == [3]
    with pytest.raises(DeadlinePassedError):
        late.result(SECONDS)
    assert gate.batches == [[255], [3]]
    assert busy.waiting == 0


def test_drops_what_nobody_waits_for(gate: Gate, busy: Batcher) -> None:
    gone = busy.submit(faces(1, 2))
    assert gone.cancel()
    other = busy.submit(faces(3))
    gate.opened.set()
    assert rows(other) == [3]
    assert gate.batches == [[255], [3]]


@pytest.mark.parametrize("error", [InputError("blank"), IncompatibleArtifactError("damaged"), ValueError("a bug")])
def test_an_error_is_of_its_request_alone(error: Exception) -> None:
    def embed(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if (images == 13).any():
            raise error
        return means(images)

    gate = Gate(embed)
    with Batcher(gate, most=4) as batcher:
        batcher.submit(faces(255))
        assert gate.entered.acquire(timeout=SECONDS)
        first, bad, last = (batcher.submit(faces(value)) for value in (1, 13, 2))
        gate.opened.set()
        assert rows(first) == [1]
        assert rows(last) == [2]
        with pytest.raises(type(error)):
            bad.result(SECONDS)
        assert rows(batcher.submit(faces(4))) == [4]


def test_closing_computes_what_waits(gate: Gate) -> None:
    batcher = Batcher(gate, most=2)
    futures = [batcher.submit(faces(value)) for value in range(5)]
    threading.Timer(0.05, gate.opened.set).start()
    batcher.close()
    assert [rows(future) for future in futures] == [[value] for value in range(5)]
    with pytest.raises(UsageError):
        batcher.submit(faces(1))


def test_tells_of_batches(gate: Gate, busy: Batcher) -> None:
    told: list[tuple[int, bool]] = []

    class Observer:
        def batch(self, *, faces: int, waited: float, seconds: float) -> None:
            told.append((faces, waited >= 0 and seconds >= 0))

    with Batcher(means, observer=Observer()) as batcher:
        batcher.submit(faces(1, 2)).result(SECONDS)
    assert told == [(2, True)]


def test_refuses_what_cannot_work() -> None:
    with pytest.raises(UsageError):
        Batcher(means, workers=0)
