"""Faces of many requests, computed together: what is there when a worker is free is its batch, and none waits for more.

While all workers compute, faces gather; a batch then takes one face of each request in turn, so that a request of many
faces holds up no other.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import EfqError, UsageError

Faces = NDArray[np.uint8]
Embeddings = NDArray[np.float32]

DEFAULT_BATCH = 8
DEFAULT_QUEUE = 256

_logger = logging.getLogger(__name__)


class QueueFullError(Exception):
    """More faces wait than may. seconds: until they are computed, as far as can be told."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class DeadlinePassedError(Exception):
    """The faces were not computed before their deadline, and are not any more."""


class BatchObserver(Protocol):
    """Is told of every batch, from the worker's thread."""

    def batch(self, *, faces: int, waited: float, seconds: float) -> None:
        """faces: computed together. waited: seconds that the oldest of them did. seconds: that they took."""


class _Unobserved:
    def batch(self, *, faces: int, waited: float, seconds: float) -> None:
        pass


@dataclasses.dataclass(eq=False)
class _Job:
    """The faces of one request. taken: how many of them are computed or in a batch. missing: how many are not done."""

    faces: Faces
    deadline: float | None
    since: float
    future: Future[Embeddings]
    embeddings: list[Embeddings | None]
    taken: int = 0
    missing: int = 0

    def fail(self, error: BaseException) -> None:
        with contextlib.suppress(InvalidStateError):
            self.future.set_exception(error)

    def put(self, place: int, embedding: Embeddings) -> None:
        self.embeddings[place] = embedding
        self.missing -= 1
        if not self.missing:
            with contextlib.suppress(InvalidStateError):
                self.future.set_result(np.stack([row for row in self.embeddings if row is not None]))


_Place = tuple[_Job, int]


class Batcher:
    """Calls `embed`, faces uint8 (N, H, W, 3) to float32 (N, d), from `workers` threads, with up to `most` faces.

    queue: the most faces that wait. One may be used by any number of threads.
    """

    def __init__(
        self,
        embed: Callable[[Faces], Embeddings],
        *,
        workers: int = 1,
        most: int = DEFAULT_BATCH,
        queue: int = DEFAULT_QUEUE,
        observer: BatchObserver | None = None,
    ) -> None:
        if min(workers, most, queue) < 1:
            message = f"expected workers, faces a batch and places of at least 1, found {workers}, {most} and {queue}"
            raise UsageError(message)
        self._embed, self._most, self._places = embed, most, queue
        self._observer: BatchObserver = observer or _Unobserved()
        self._jobs: collections.deque[_Job] = collections.deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._idle = 0
        self._closed = False
        self._face_seconds = 0.0
        self._threads = [
            threading.Thread(target=self._work, name=f"efq-batch-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Faces that no worker has taken yet."""
        return self._waiting

    @property
    def longest(self) -> int:
        """The most faces that one request may have."""
        return self._places

    def submit(self, faces: Faces, deadline: float | None = None) -> Future[Embeddings]:
        """Have faces computed, (N, H, W, 3), N above zero: the future of their embeddings, (N, d).

        deadline: of `time.monotonic`. Past it the future raises DeadlinePassedError, unless a worker has begun.
        A future that is cancelled is not computed any more.
        Raises QueueFullError where there is no place for all of them, UsageError once closed.
        """
        future: Future[Embeddings] = Future()
        count = len(faces)
        job = _Job(faces, deadline, time.monotonic(), future, [None] * count, missing=count)
        with self._changed:
            if self._closed:
                message = "expected an open Batcher, found one that was closed"
                raise UsageError(message)
            if self._waiting + count > self._places:
                raise QueueFullError(self._waiting * self._face_seconds / len(self._threads))
            self._jobs.append(job)
            self._waiting += count
            self._changed.notify(min(count, len(self._threads)))
        return future

    def close(self) -> None:
        """Compute what waits, and end the threads; later calls of `submit` raise UsageError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                while not self._jobs and not self._closed:
                    self._changed.wait()
                places = self._take()
                self._idle -= 1
                if not places and self._closed and not self._jobs:
                    return
            if places:
                self._compute(places)

    def _take(self) -> list[_Place]:
        """One face of each request in turn, as many as are this worker's share."""
        share = min(self._most, -(-self._waiting // max(1, self._idle)))
        now = time.monotonic()
        places: list[_Place] = []
        while self._jobs and len(places) < share:
            job = self._jobs.popleft()
            if self._is_dropped(job, now):
                self._waiting -= len(job.faces) - job.taken
                continue
            places.append((job, job.taken))
            job.taken += 1
            self._waiting -= 1
            if job.taken < len(job.faces):
                self._jobs.append(job)
        return places

    @staticmethod
    def _is_dropped(job: _Job, now: float) -> bool:
        if job.deadline is not None and now >= job.deadline:
            job.fail(DeadlinePassedError())
        return job.future.done()

    def _compute(self, places: Sequence[_Place]) -> None:
        start = time.monotonic()
        waited = start - min(job.since for job, _ in places)
        try:
            rows = self._embed(np.stack([job.faces[place] for job, place in places]))
        except Exception as error:
            self._compute_apart(places, error)
            return
        seconds = time.monotonic() - start
        self._face_seconds += 0.1 * (seconds / len(places) - self._face_seconds)
        self._observer.batch(faces=len(places), waited=waited, seconds=seconds)
        for (job, place), row in zip(places, rows, strict=True):
            job.put(place, row)

    def _compute_apart(self, places: Sequence[_Place], error: Exception) -> None:
        """Each request for itself, so that only those fail whose faces do."""
        jobs = list(dict.fromkeys(job for job, _ in places))
        if not isinstance(error, EfqError):
            _logger.error("a batch failed: %s", type(error).__name__)
        if len(jobs) == 1:
            jobs[0].fail(error)
            return
        for job in jobs:
            mine = [place for place in places if place[0] is job]
            self._compute(mine)
