"""Answers of ASGI that are written without the framework."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from efq.runtime.service.errors import ApiError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def header(scope: Scope, name: bytes) -> str | None:
    """A header of the request, in ISO 8859-1; of several the first."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """All headers of that name."""
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


async def send_error(send: Send, error: ApiError, request_id: str) -> None:
    """The envelope of an error."""
    pairs = ((name.lower().encode(), value.encode("latin-1", "replace")) for name, value in error.headers.items())
    await send_json(send, error.status, error.body(request_id), pairs)


async def send_json(send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """A body of JSON."""
    usual = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*usual, *headers]})
    await send({"type": "http.response.body", "body": body})
