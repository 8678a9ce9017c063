"""How much at once: the number and bytes of requests that are here, and how long each may take to arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from efq.runtime.service.errors import ApiError, busy
from efq.runtime.service.limits.answers import App, Message, Receive, Scope, Send, header
from efq.runtime.service.settings import Limits

_DISCARDED = 4
"""Times the most bytes of a body that are read of one that is too large."""

_ALWAYS = ("/v2/health/live", "/v2/health/ready", "/metrics")


class Admission:
    """Reads each body before the routes see it, and ends what they do for a client that has gone.

    rejected: is told the code of what is refused. counted: is told how many are here now.
    """

    def __init__(
        self, app: App, *, limits: Limits, rejected: Callable[[str], None], counted: Callable[[int], None]
    ) -> None:
        self._app, self._limits, self._rejected, self._counted = app, limits, rejected, counted
        self._requests = 0
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._requests >= self._limits.requests and scope["path"] not in _ALWAYS:
            raise self._refuse(busy("too_many_requests", "too many requests at once"))
        self._count(1)
        body = _Body()
        try:
            try:
                await self._read(scope, receive, body)
            except ApiError as error:
                raise self._refuse(error) from error
            scope["state"]["call"].deadline = time.monotonic() + self._limits.deadline
            if not body.gone:
                await _serve_while_there(self._app, scope, receive, send, body.content())
        finally:
            self._count(-1)
            self._bytes -= body.counted

    def _count(self, change: int) -> None:
        self._requests += change
        self._counted(self._requests)

    def _refuse(self, error: ApiError) -> ApiError:
        self._rejected(error.code)
        return error

    async def _read(self, scope: Scope, receive: Receive, body: _Body) -> None:
        expected = _length(scope)
        if expected > _DISCARDED * self._limits.body_bytes or header(scope, b"expect") is not None:
            self._check_size(expected)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        body.gone = True
                        return
                    self._add(message.get("body", b""), body)
                    if not message.get("more_body"):
                        break
        except TimeoutError as error:
            seconds = self._limits.body_seconds
            message_ = f"expected the body within {seconds:g} seconds"
            raise ApiError(408, "body_too_slow", message_, {"Connection": "close"}) from error
        self._check_size(body.length)

    def _add(self, part: bytes, body: _Body) -> None:
        """Keep a part; of a body that is too large what comes is read and lost, so that its client reads the answer."""
        body.length += len(part)
        if body.length > self._limits.body_bytes:
            body.parts.clear()
            if body.length > _DISCARDED * self._limits.body_bytes:
                self._check_size(body.length)
            return
        if self._bytes + len(part) > self._limits.bodies_bytes:
            code = "too_many_bytes"
            raise busy(code, "the service has no room for this body now")
        body.parts.append(part)
        body.counted += len(part)
        self._bytes += len(part)

    def _check_size(self, size: int) -> None:
        if size > self._limits.body_bytes:
            message = f"expected a body of at most {self._limits.body_bytes:,} bytes"
            raise ApiError(413, "body_too_large", message, {"Connection": "close"})


class _Body:
    """What came of a body. counted: bytes of it that others cannot have. length: of all that came. gone: whether its
    client is."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.counted = 0
        self.length = 0
        self.gone = False

    def content(self) -> bytes:
        """All of it; what came in one part is not copied."""
        parts, self.parts = self.parts, []
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def _serve_while_there(app: App, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
    """Serve a request whose body is read, and stop where the client closes the connection."""
    serving = asyncio.current_task()
    assert serving is not None
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    gone = False

    async def receive_body() -> Message:
        if left:
            return left.pop()
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        serving.cancel()

    async def send_part(message: Message) -> None:
        await send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            watching.cancel()  # what it would be told now is that the answer is complete

    watching = asyncio.ensure_future(watch())
    try:
        await app(scope, receive_body, send_part)
    except asyncio.CancelledError:
        if not gone:
            raise
        serving.uncancel()
    finally:
        watching.cancel()


def _length(scope: Scope) -> int:
    """What the header says, 0 where it says nothing; h11 has checked that it is a number."""
    return int(header(scope, b"content-length") or "0")
