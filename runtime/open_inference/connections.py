"""Connections to one server: kept open, shared by threads, each request within one time for all of its tries."""

from __future__ import annotations

import contextlib
import dataclasses
import email.utils
import functools
import http.client
import io
import logging
import random
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from efq.runtime.errors import ServerError, UsageError
from efq.runtime.open_inference.addresses import Address
from efq.runtime.open_inference.messages import Message

MOST_IDLE = 64
"""Connections that are kept open while no call uses them."""

BUSY = (429, 502, 503, 504)
"""Of a server, or what stands before it, that may answer the same request a little later."""

_FIRST_WAIT, _LONGEST_WAIT = 0.05, 2.0
_CLOSED = "expected an open connection to a server, found one that was closed; open it again"
_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back. headers: by name in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Connections:
    """Asks one server. Every request has to be one that may be sent twice.

    timeout: seconds for one request with all of its tries; tries: how often it is sent at most where the connection
    fails or the server is busy. Threads may share it. In the child of a fork, `forget` has to be called.
    """

    def __init__(self, address: Address, headers: Mapping[str, str], *, timeout: float, tries: int) -> None:
        self.address = address
        self._headers = dict(headers)
        self._timeout, self._tries = timeout, tries
        self._tls = ssl.create_default_context() if address.scheme == "https" else None
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, method: str, path: str, message: Message | None = None, *, most: int) -> Answer:
        """The answer, of any status that is not one of `BUSY`, with at most `most` bytes.

        Raises ServerError where there is none in time, UsageError once closed.
        """
        end = time.monotonic() + self._timeout
        wait, last = _FIRST_WAIT, "nothing"
        for number in range(1, self._tries + 1):
            try:
                answer = self._ask_once(method, self.address.path + path, message, end, most)
                if answer.status not in BUSY:
                    return answer
                last, pause = f"the status {answer.status}", _retry_after(answer.headers)
            except (OSError, http.client.HTTPException) as error:
                last, pause = f"{type(error).__name__} ({str(error)[:200]})", None
            pause = wait * random.uniform(0.5, 1) if pause is None else pause
            if number == self._tries or time.monotonic() + pause >= end:
                break
            _logger.debug("%s: %s, asked again in %.2f s", self.address, last, pause)
            time.sleep(pause)
            wait = min(2 * wait, _LONGEST_WAIT)
        tries = "one try" if number == 1 else f"{number} tries"
        message_text = (
            f"expected an answer from {self.address} within {self._timeout:g} s, found {last} after {tries}; see "
            "whether it runs and has room for more requests"
        )
        raise ServerError(message_text)

    def _ask_once(self, method: str, path: str, message: Message | None, end: float, most: int) -> Answer:
        """On a connection that is open, which the server may have closed meanwhile, then on new ones."""
        while True:
            connection = self._taken()
            is_new = connection is None
            connection = connection or _Connection(self.address, self._tls)
            try:
                return self._on(connection, method, path, message, end, most)
            except (ConnectionError, http.client.RemoteDisconnected):
                if is_new:
                    raise

    def _on(
        self, connection: _Connection, method: str, path: str, message: Message | None, end: float, most: int
    ) -> Answer:
        with contextlib.ExitStack() as failed:
            failed.callback(connection.close)
            answer, reusable = connection.ask(method, path, message, self._headers, end, most)
            with self._lock:
                if reusable and not self._closed and len(self._idle) < MOST_IDLE:
                    self._idle.append(connection)
                    failed.pop_all()
        return answer

    def _taken(self) -> _Connection | None:
        """The connection that was used last and is open; None where there is none."""
        while True:
            with self._lock:
                if self._closed:
                    raise UsageError(_CLOSED)
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.is_quiet():
                return connection
            connection.close()

    def close(self) -> None:
        """Close what no call uses; calls that run end as they would. Later ones raise UsageError."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def forget(self) -> None:
        """In the child of a fork: the connections are the parent's."""
        self._lock = threading.Lock()
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _Connection:
    """One connection of `http.client`, whose reading ends in time however slowly bytes come."""

    def __init__(self, address: Address, tls: ssl.SSLContext | None) -> None:
        self._address = address
        self._end = 0.0
        self._http: http.client.HTTPConnection = (
            http.client.HTTPConnection(address.host, address.port)
            if tls is None
            else http.client.HTTPSConnection(address.host, address.port, context=tls)
        )
        response = functools.partial(_Response, end=lambda: self._end)
        self._http.response_class = response  # type: ignore[assignment]

    def ask(
        self, method: str, path: str, message: Message | None, headers: Mapping[str, str], end: float, most: int
    ) -> tuple[Answer, bool]:
        """The answer, and whether the connection can be used again."""
        self._end = end
        left = _left(end)
        self._http.timeout = left
        if self._http.sock is not None:
            self._http.sock.settimeout(left)
        sent = dict(headers) | (dict(message.headers) if message is not None else {})
        self._http.request(method, path, None if message is None else message.body, sent)
        with self._http.getresponse() as response:
            expected = response.length
            if expected is not None and expected > most:
                raise _too_large(most, self._address)
            body = response.read(most + 1)
            if len(body) > most:
                raise _too_large(most, self._address)
            if expected is not None and len(body) < expected:
                raise http.client.IncompleteRead(body[:0], expected - len(body))
            reusable = not response.will_close and response.isclosed()
            return Answer(status=response.status, headers=response.headers, body=body), reusable  # type: ignore[arg-type]

    def is_quiet(self) -> bool:
        """Whether it is open and the server has sent nothing, as the end of the connection would be."""
        sock = self._http.sock
        try:
            return sock is not None and not _is_readable(sock)
        except (OSError, ValueError):
            return False

    def close(self) -> None:
        self._http.close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, end: Callable[[], float], **keywords: Any) -> None:
        super().__init__(sock, *args, **keywords)
        self.fp = io.BufferedReader(_Timed(self.fp.detach(), sock, end))


class _Timed(io.RawIOBase):
    """Reads what `raw` reads until a time that is one for all reads, where a socket's own is one for each."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, end: Callable[[], float]) -> None:
        self._raw, self._sock, self._end = raw, sock, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._end()))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _is_readable(sock: socket.socket) -> bool:
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()  # select takes no more than 1024 files
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        message = "no answer in time"
        raise TimeoutError(message)
    return left


def _too_large(most: int, address: Address) -> ServerError:
    message = f"expected an answer of at most {most:,} bytes from {address}, found a larger one: it is no such server"
    return ServerError(message)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3); None where it says nothing that can be read."""
    value = headers.get("Retry-After")
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None
