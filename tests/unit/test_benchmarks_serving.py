"""The generator of load: what it counts, and that a service that stands still is seen by everyone who waits for it."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import math
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from artifacts import random_faces

from efq.benchmarks.serving.client import KINDS, Address, Connection, requests_of
from efq.benchmarks.serving.figures import Figures, Measured
from efq.benchmarks.serving.loops import Load, closed_count, closed_loop, open_loop
from efq.benchmarks.serving.processes import started
from efq.runtime.errors import ServerError
from efq.runtime.open_inference.messages import HEADER_LENGTH, read_request
from efq.runtime.open_inference.tensors import TensorSpec

REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi"


class Server:
    """Answers after `seconds`; each `stall` requests it answers nobody for `stalled` seconds."""

    def __init__(self, *, seconds: float = 0.0, status: int = 200, close: bool = False) -> None:
        self.seconds, self.status, self.close = seconds, status, close
        self.stalled_until = 0.0
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(found[1]) if found else 0)
                self.requests.append(head + body)
                left = self.stalled_until - asyncio.get_running_loop().time()
                await asyncio.sleep(max(self.seconds, left))
                ending = "Connection: close\r\n" if self.close else ""
                writer.write(f"HTTP/1.1 {self.status} X\r\n{ending}Content-Length: 3\r\n\r\n".encode())
                await asyncio.sleep(0)
                writer.write(b"abc")
                if self.close:
                    break
        writer.close()


@contextlib.asynccontextmanager
async def running(server: Server) -> AsyncIterator[Address]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    async with listening:
        yield Address(host="127.0.0.1", port=listening.sockets[0].getsockname()[1])
        await asyncio.sleep(0.05)  # the server sees that its clients are gone


def test_clients_of_a_closed_loop_wait_for_their_answers() -> None:
    async def measure() -> tuple[Load, Server]:
        server = Server(seconds=0.02)
        async with running(server) as address:
            return await closed_loop(address, [REQUEST], clients=4, seconds=0.4), server

    found, server = asyncio.run(measure())
    assert server.connections == 4
    assert found.errors == 0
    assert 20 <= found.milliseconds(0.5) < 200
    assert 4 * 0.4 / 0.2 < found.rate * found.seconds <= 4 * (0.4 / 0.02 + 1)
    assert found.rate == len(found.latencies) / found.seconds


def test_an_open_loop_counts_from_the_time_that_was_meant() -> None:
    """A service that stands still for half a second: a fifth of those who come have to wait long, not only one."""

    async def measure() -> Load:
        server = Server()
        async with running(server) as address:
            server.stalled_until = asyncio.get_running_loop().time() + 0.75
            return await open_loop(address, [REQUEST], rate=100, seconds=2.0)

    found = asyncio.run(measure())
    assert found.errors == 0
    assert len(found.latencies) == pytest.approx(200, abs=60)
    assert 0.1 < float((found.latencies > 0.1).mean()) < 0.6
    assert found.milliseconds(0.99) > 300


@pytest.mark.parametrize(("status", "close"), [(429, False), (503, True), (200, True)])
def test_answers_are_counted_by_status(status: int, close: bool) -> None:
    async def measure() -> tuple[collections.Counter[int], Load]:
        server = Server(status=status, close=close)
        async with running(server) as address:
            counted = await closed_count(address, [REQUEST], clients=3, count=30)
            return counted, await closed_loop(address, [REQUEST], clients=2, seconds=0.1)

    counted, found = asyncio.run(measure())
    assert counted == {status: 30}
    assert set(found.statuses) == {status}
    assert (found.errors == 0) == (status == 200)
    assert math.isnan(found.milliseconds(0.5)) == (status != 200)


def test_nobody_there() -> None:
    async def measure() -> collections.Counter[int]:
        async with running(Server()) as address:
            pass
        return await closed_count(address, [REQUEST], clients=2, count=4)

    assert asyncio.run(measure()) == {0: 4}


def test_a_connection_that_ends_within_an_answer() -> None:
    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nabc")
        await asyncio.sleep(0.02)
        writer.close()

    async def measure() -> bool:
        async with await asyncio.start_server(half, "127.0.0.1", 0) as listening:
            port = listening.sockets[0].getsockname()[1]
            connection = await Connection.open(Address(host="127.0.0.1", port=port))
            with pytest.raises(ConnectionError):
                await connection.ask(REQUEST)
            part = connection.has_part
            connection.close()
            await asyncio.sleep(0.02)
            return part

    assert asyncio.run(measure())


@pytest.mark.parametrize("kind", KINDS)
def test_requests_are_whole(kind: str) -> None:
    faces = random_faces(3)
    requests = requests_of(kind, faces, model="tiny", images=2 if kind == "infer" else 1)
    assert len(requests) == 3
    head, _, body = requests[2].partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    if kind == "infer":
        length = re.search(rf"{HEADER_LENGTH}: (\d+)".encode(), head)
        assert length is not None
        spec = TensorSpec(name="images", datatype="UINT8", shape=(2, 112, 112, 3), most_bytes=2 * 112 * 112 * 3)
        found = read_request(body, length[1].decode(), spec=spec, output_name="embeddings").images
        np.testing.assert_array_equal(found, faces[[2, 0]])


def test_a_module_that_serves_nothing_is_said() -> None:
    with pytest.raises(ServerError), started("efq.runtime.faces", [], frozenset()):
        pass


def measured(number: int, variant: str, load: float, rate: float) -> Measured:
    return Measured(
        round=number,
        variant=variant,
        kind="infer",
        loop="closed",
        load=load,
        rate=rate,
        p50=1,
        p99=2,
        late=0,
        errors=1,
        cpu_ms=3,
    )


def test_figures_are_medians_of_rounds() -> None:
    rounds = [measured(n, "a", load, rate) for n in range(3) for load, rate in ((1, 50 + n), (8, 100 + 10 * n))]
    rounds += [measured(n, "b", 8, 55) for n in range(3)]
    figures = Figures(
        measured=rounds,
        bare={1: [121.0, 132.0, 143.0]},
        bare_cpu_ms={1: [1.0]},
        resident={"a": (10**8, 2 * 10**8)},
        facts={},
    )
    assert figures.saturated("a") == [100, 110, 120]
    text = figures.markdown()
    assert re.search(r"\| a +\| 110 ", text)
    assert "2.00 x" in text
    assert "+20%" in text  # 121/100, 132/110, 143/120
    assert "100 200" in text
    assert json.loads(json.dumps(figures.to_dict()))["bare"]["1"] == [121.0, 132.0, 143.0]


@pytest.mark.slow
def test_the_command_measures(tiny_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    options = ["--clients", "1,4", "--seconds", "0.3", "--rounds", "1", "-o", str(tmp_path)]
    command = [sys.executable, "-m", "efq.benchmarks.serving.load", str(tiny_artifact), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    values = json.loads((tmp_path / "load.json").read_text())
    assert {one["loop"] for one in values["measured"]} == {"closed", "open"}
    assert not any(one["errors"] for one in values["measured"])
    assert "resident MB" in (tmp_path / "load.md").read_text()


@pytest.mark.slow
def test_several_services_are_measured_beside_one(tiny_artifact: Path, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    options = ["--clients", "5", "--kinds", "infer", "--seconds", "0.3", "--rounds", "1", "-o", str(tmp_path)]
    command = [sys.executable, "-m", "efq.benchmarks.serving.several", str(tiny_artifact), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "several.json").read_text())["measured"]
    assert {(one["variant"], one["errors"]) for one in measured} == {("1 x 2", 0), ("2 x 1", 0)}
    assert all(one["rate"] > 0 for one in measured)
