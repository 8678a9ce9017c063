"""HTTP/1.1 of uvicorn and h11, for clients that are slow, or speak something else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


class ServiceProtocol(H11Protocol):
    """A connection ends that sends no whole head in time, beyond `most_connections`, or what is no HTTP: with an
    envelope, where something was sent."""

    head_seconds = 10.0
    """From a connection, or the first byte of a further request, to the end of its headers."""

    most_connections = 1_024

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(503, "too_many_connections", "too many connections at once; try again later")
            return
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        elif self.conn.their_state is not h11.SEND_BODY or not self.cycle.response_complete:
            self._forget_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            # Refused before its body was read: what comes of it is lost, but not for ever.
            self._expect_head()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_http", "expected a request of HTTP/1.1, found something else")

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._head_is_late)

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            return
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._refuse(408, "head_too_slow", f"expected a request's headers within {self.head_seconds:g} seconds")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """An envelope, and the end of the connection."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.close()  # it would be taken for the answer to the request before
            return
        request_id = uuid.uuid4().hex
        body = json.dumps({"error": {"code": code, "message": message, "request_id": request_id}}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        events: list[Any] = [
            h11.Response(status_code=status, headers=headers, reason=b""),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        with contextlib.suppress(h11.LocalProtocolError):
            self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
        self.transport.close()
