"""Load: as many requests as so many clients send one after another, or so many a second whatever the answers do."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import itertools
import time
from collections.abc import AsyncIterator, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.serving.client import Address, Connection

LONGEST_WAIT = 30.0
"""Seconds for an answer, after which a client gives up."""

MOST_CONNECTIONS = 512
_WARM_UP = 0.25


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """What came of it.

    seconds: that were measured. latencies: seconds of each request answered with 200 in that time. statuses: of all
    answers in it, 0 for connections that failed and answers that never came. answers: of all, before it and after,
    too. late: seconds after its time that each request of an open loop was sent, which is the generator's fault; empty
    for a closed loop.
    """

    seconds: float
    latencies: NDArray[np.float64]
    statuses: collections.Counter[int]
    answers: int
    late: NDArray[np.float64]

    @property
    def rate(self) -> float:
        """Requests a second that were answered with 200."""
        return len(self.latencies) / self.seconds

    @property
    def errors(self) -> int:
        return sum(count for status, count in self.statuses.items() if status != 200)

    def milliseconds(self, share: float) -> float:
        """The latency below which so many of the requests are, in ms; NaN without any."""
        return float(np.quantile(self.latencies, share)) * 1e3 if len(self.latencies) else float("nan")


class _Record:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: collections.Counter[int] = collections.Counter()
        self.late: list[float] = []
        self.answers = 0

    def add(self, status: int, seconds: float) -> None:
        self.statuses[status] += 1
        if status == 200:
            self.latencies.append(seconds)

    def load(self, seconds: float) -> Load:
        return Load(
            seconds=seconds,
            latencies=np.array(self.latencies),
            statuses=self.statuses,
            answers=self.answers,
            late=np.array(self.late),
        )


async def closed_loop(address: Address, requests: Sequence[bytes], *, clients: int, seconds: float) -> Load:
    """`clients` that each send their next request when the last one is answered."""
    record, start = _Record(), time.perf_counter() + _WARM_UP
    end = start + seconds

    async def client(number: int) -> None:
        turn = itertools.islice(itertools.cycle(requests), number, None)
        async with _Kept(address) as kept:
            while (sent := time.perf_counter()) < end:
                status = await kept.ask(next(turn))
                now = time.perf_counter()
                record.answers += 1
                if start <= now < end:
                    record.add(status, now - sent)
                if status == 0:
                    await asyncio.sleep(0.01)

    await asyncio.gather(*(client(number) for number in range(clients)))
    return record.load(seconds)


async def closed_count(
    address: Address, requests: Sequence[bytes], *, clients: int, count: int
) -> collections.Counter[int]:
    """So many requests of `clients` that each wait for their answers: how many had which status, 0 for none."""
    statuses: collections.Counter[int] = collections.Counter()
    turn = itertools.islice(itertools.cycle(requests), count)

    async def client() -> None:
        async with _Kept(address) as kept:
            for request in turn:
                statuses[await kept.ask(request)] += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses


async def open_loop(address: Address, requests: Sequence[bytes], *, rate: float, seconds: float, seed: int = 0) -> Load:
    """Requests at random times, `rate` a second (a Poisson process).

    A latency counts from the time that the request was to be sent, so that answers that are waited for hide none of
    those behind them.
    """
    record = _Record()
    gaps = np.random.default_rng(seed).exponential(1 / rate, int(rate * seconds * 2) + 16)
    times = np.cumsum(gaps)
    start = time.perf_counter() + _WARM_UP
    places = asyncio.Semaphore(MOST_CONNECTIONS)
    free: list[_Kept] = []

    async def one(due: float, request: bytes) -> None:
        async with places:
            kept = free.pop() if free else _Kept(address)
            record.late.append(time.perf_counter() - due)
            status = await kept.ask(request)
            record.answers += 1
            record.add(status, time.perf_counter() - due)
            free.append(kept)

    tasks = []
    for gap, request in zip(times[times < seconds], itertools.cycle(requests), strict=False):
        due = start + float(gap)
        if (left := due - time.perf_counter()) > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(one(due, request)))
    await asyncio.gather(*tasks)
    for kept in free:
        kept.close()
    return record.load(seconds)


class _Kept:
    """A connection that is opened when it is needed, and again when it was closed."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._connection: Connection | None = None

    async def ask(self, request: bytes) -> int:
        """The status; 0 where the connection fails, or in `LONGEST_WAIT` nothing comes."""
        try:
            async with asyncio.timeout(LONGEST_WAIT):
                if self._connection is None or not self._connection.is_open:
                    self.close()
                    self._connection = await Connection.open(self._address)
                return await self._connection.ask(request)
        except (OSError, TimeoutError):
            self.close()
            return 0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def __aenter__(self) -> _Kept:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()


@contextlib.asynccontextmanager
async def held_connections(address: Address, count: int) -> AsyncIterator[list[Connection]]:
    """Connections that send nothing, as idle or hostile clients have them."""
    held = [await Connection.open(address) for _ in range(count)]
    try:
        yield held
    finally:
        for connection in held:
            connection.close()
