"""HTTP as clients speak it that are slow, broken or gone: a real port, in this process."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from artifacts import make_artifact
from services import App, app_of, image

from efq.runtime.service.process.protocol import ServiceProtocol
from efq.runtime.service.settings import Limits

SECONDS = 10.0
BODY = json.dumps({"images": [image(0)]}).encode()
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LENGTH = b"Content-Length: %d\r\n\r\n" % len(BODY)
GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Impatient(ServiceProtocol):
    head_seconds = 0.3
    most_connections = 8


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_artifact(tmp_path_factory.mktemp("artifact") / "artifact")


@contextlib.contextmanager
def listening(app: App) -> Iterator[int]:
    """The port of a server of the application, in a thread."""
    config = uvicorn.Config(
        app.app, port=0, http=Impatient, ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        wait_for(lambda: server.started)
        try:
            yield int(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(SECONDS)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def app(artifact: Path) -> Iterator[App]:
    with app_of(artifact, limits=Limits(body_bytes=100_000, body_seconds=0.5)) as made:
        yield made


@pytest.fixture(scope="module")
def port(app: App) -> Iterator[int]:
    with listening(app) as number:
        yield number


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def rest(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def envelope(answer: bytes) -> tuple[int, str]:
    """Status and code of an answer that ends its connection."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


def test_a_head_that_does_not_come(port: int) -> None:
    with connect(port) as silent:
        assert rest(silent) == b""
    with connect(port) as slow:
        slow.sendall(GET[:20])
        assert envelope(rest(slow)) == (408, "head_too_slow")


def test_a_further_head_that_does_not_come(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET)
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65_536)
        connection.sendall(GET[:20])
        assert envelope(rest(connection)) == (408, "head_too_slow")


def test_a_body_that_does_not_come(port: int) -> None:
    with connect(port) as slow:
        slow.sendall(HEAD + LENGTH + BODY[:100])
        assert envelope(rest(slow)) == (408, "body_too_slow")


def test_a_body_that_comes_in_drops(port: int) -> None:
    with connect(port) as slow:
        slow.sendall(HEAD + LENGTH)
        with contextlib.suppress(ConnectionError):
            for place in range(100):
                slow.sendall(BODY[place : place + 1])
                time.sleep(0.02)
        assert envelope(rest(slow)) == (408, "body_too_slow")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET /nowhere HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_request(port: int, sent: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(sent)
        answer = rest(connection)
    assert answer == b"" or envelope(answer)[0] in (400, 404, 408, 414, 501)


def test_bodies_in_chunks(port: int) -> None:
    chunked = b"".join(
        b"%x\r\n%s\r\n" % (len(BODY[at : at + 1000]), BODY[at : at + 1000]) for at in range(0, len(BODY), 1000)
    )
    with connect(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked + b"0\r\n\r\n")
        assert rest(connection).startswith(b"HTTP/1.1 200")


def test_a_body_of_two_lengths(port: int) -> None:
    smuggled = b"0\r\n\r\nGET /v1/model HTTP/1.1\r\nHost: localhost\r\n\r\n"
    lengths = b"Transfer-Encoding: chunked\r\nContent-Length: %d\r\n\r\n" % len(smuggled)
    with connect(port) as connection:
        connection.sendall(HEAD + lengths + smuggled)
        answer = rest(connection)
    assert envelope(answer) == (400, "bad_http")
    assert answer.count(b"HTTP/1.1") == 1, "nothing behind it is answered"


@pytest.mark.parametrize("length", [b"Content-Length: 130000\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_a_body_that_is_too_large_is_read_to_its_end(port: int, length: bytes) -> None:
    body = b"x" * 130_000 if b"Content" in length else b"1fbd0\r\n" + b"x" * 130_000 + b"\r\n0\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\n" + length + b"\r\n" + body)
        assert envelope(rest(connection)) == (413, "body_too_large")


def test_a_body_far_too_large_is_not_waited_for(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 999999999999\r\n\r\n")
        assert envelope(rest(connection)) == (413, "body_too_large")
    with connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 130000\r\nExpect: 100-continue\r\n\r\n")
        assert envelope(rest(connection)) == (413, "body_too_large")


def test_who_asks_first_is_told_to_go_on(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(HEAD + b"Connection: close\r\nExpect: 100-continue\r\n" + LENGTH)
        assert connection.recv(1_000).startswith(b"HTTP/1.1 100")
        connection.sendall(BODY)
        assert rest(connection).startswith(b"HTTP/1.1 200")


def test_requests_one_after_the_other_in_one_packet(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET + HEAD + LENGTH + BODY + GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert rest(connection).count(b"HTTP/1.1 200 OK") == 3


def test_what_nobody_waits_for_is_not_computed(app: App, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, opened = threading.Event(), threading.Event()
    batches: list[int] = []
    embed = app.engine.batcher._embed

    def slowly(images: object) -> object:
        batches.append(len(images))  # type: ignore[arg-type]
        entered.set()
        assert opened.wait(SECONDS)
        return embed(images)  # type: ignore[arg-type]

    monkeypatch.setattr(app.engine.batcher, "_embed", slowly)
    app.log.clear()
    with connect(port) as first:
        first.sendall(HEAD + b"Connection: close\r\n" + LENGTH + BODY)
        assert entered.wait(SECONDS)
        with connect(port) as second:
            second.sendall(HEAD + LENGTH + BODY)
            wait_for(lambda: app.engine.batcher.waiting == 1)
        wait_for(lambda: [line["status"] for line in app.log] == [499])
        opened.set()
        assert rest(first).startswith(b"HTTP/1.1 200")
    wait_for(lambda: app.engine.batcher.waiting == 0)
    assert batches == [1]


def test_connections_beyond_the_most_are_told_so(port: int) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(8):
            opened.enter_context(connect(port)).sendall(GET[:10])
        time.sleep(0.05)
        more = opened.enter_context(connect(port))
        assert envelope(rest(more)) == (503, "too_many_connections")
    with connect(port) as later:
        later.sendall(GET)
        assert b"200 OK" in later.recv(65_536)


def test_who_is_refused_may_not_send_for_ever(artifact: Path) -> None:
    with app_of(artifact, api_keys=("a-key-of-16-signs",)) as app, listening(app) as port, connect(port) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\n")
        assert b"401" in connection.recv(65_536)
        start = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() < start + SECONDS:
                connection.sendall(b"x")
                time.sleep(0.02)
        assert time.monotonic() - start < 5
