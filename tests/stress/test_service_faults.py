"""The service and clients at their worst: floods, slow and half-closed connections, and an end under load."""

from __future__ import annotations

import asyncio
import collections
import socket
import threading
import time
from pathlib import Path

import pytest
from artifacts import random_faces

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
services = pytest.importorskip("services")

from efq.benchmarks.serving.client import Address, Connection, requests_of  # noqa: E402
from efq.benchmarks.serving.loops import closed_count, closed_loop, held_connections  # noqa: E402

pytestmark = pytest.mark.slow

REQUESTS = requests_of("infer", random_faces(16), model="tiny")
FOUR = requests_of("infer", random_faces(16), model="tiny", images=4)


def address_of(service: services.Service) -> Address:
    return Address(host="127.0.0.1", port=service.port)


def resident(service: services.Service) -> int:
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) * 1024


def test_a_flood_is_answered_or_told_to_wait(tiny_artifact: Path) -> None:
    """Far more clients than places: each request is embedded or refused, and memory is what it was."""
    with services.serving(tiny_artifact, "--queue", "8", "--threads", "1", "--no-access-log") as service:
        address = address_of(service)
        first = asyncio.run(closed_count(address, FOUR, clients=256, count=2000))
        before = resident(service)
        flood = asyncio.run(closed_count(address, FOUR, clients=256, count=2000))
        assert set(first + flood) <= {200, 429}
        assert flood[200] > 0
        assert flood[429] > 0
        assert resident(service) < 1.25 * before
        assert asyncio.run(closed_count(address, REQUESTS, clients=1, count=10)) == {200: 10}
        assert service.stop() == 0


def test_slow_clients_hold_up_nobody(tiny_artifact: Path) -> None:
    """200 connections that say nothing, or a byte now and then, beside one that works."""

    async def both(address: Address) -> tuple[float, float]:
        alone = await closed_loop(address, REQUESTS, clients=1, seconds=1)
        async with held_connections(address, 200) as held:
            for place, connection in enumerate(held):
                connection.write(REQUESTS[0][: place * 5])
            beside = await closed_loop(address, REQUESTS, clients=1, seconds=1)
            assert not beside.errors
        return alone.milliseconds(0.5), beside.milliseconds(0.5)

    with services.serving(tiny_artifact, "--threads", "1", "--no-access-log") as service:
        alone, beside = asyncio.run(both(address_of(service)))
        assert beside < 5 * alone + 20
        assert service.stop() == 0


def test_half_closed_connections_get_their_answer(tiny_artifact: Path) -> None:
    """A client that says that it will send no more still reads; one that goes within a body leaves nothing."""
    with services.serving(tiny_artifact, "--threads", "1") as service:
        for _ in range(50):
            with socket.create_connection(("127.0.0.1", service.port), timeout=30) as half:
                half.sendall(REQUESTS[0][: len(REQUESTS[0]) // 2])
        answers = collections.Counter(half_closed(service.port, request) for request in REQUESTS)
        assert set(answers) <= {b"HTTP/1.1 200", b""}
        assert asyncio.run(closed_count(address_of(service), REQUESTS, clients=4, count=20)) == {200: 20}
        assert service.stop() == 0


def half_closed(port: int, request: bytes) -> bytes:
    """The start of the answer to a request after which the client's half of the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return connection.recv(65536)[:12]


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.9])
def test_what_was_accepted_is_answered_when_it_ends(tiny_artifact: Path, seconds: float) -> None:
    """SIGTERM under load: every request in the service's log was answered, whole, to a client that counts it."""

    async def load(address: Address) -> collections.Counter[str]:
        found: collections.Counter[str] = collections.Counter()

        async def client(number: int) -> None:
            try:
                connection = await Connection.open(address)
                while True:
                    status = await connection.ask(FOUR[number % len(FOUR)])
                    found[str(status)] += 1
                    if not connection.is_open:
                        return
            except ConnectionError:
                found["half" if connection.has_part else "closed"] += 1
            except OSError:
                found["refused"] += 1

        await asyncio.gather(*(client(number) for number in range(16)))
        return found

    with services.serving(tiny_artifact, "--threads", "1") as service:
        timer = threading.Timer(seconds, service.process.terminate)
        timer.start()
        found = asyncio.run(load(address_of(service)))
        timer.join()
        assert service.process.wait(30) == 0
        time.sleep(0.2)
        logged = collections.Counter(
            str(line["status"]) for line in service.lines() if str(line.get("route", "")).endswith("/infer")
        )
    assert found["half"] == 0
    assert logged.pop("499", 0) == 0
    assert logged == collections.Counter({status: count for status, count in found.items() if status.isdecimal()})
    assert set(logged) <= {"200", "429", "503"}
    assert logged["200"] > 10
