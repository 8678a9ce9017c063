"""The outermost: every request has an id, an answer, a line in the log and a place in the metrics."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Callable

from efq.runtime.service.call import Call
from efq.runtime.service.errors import ApiError, internal_error
from efq.runtime.service.limits.answers import App, Message, Receive, Scope, Send, header, send_error

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
_LOCKED = b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
_SECURITY = (
    (b"content-security-policy", _LOCKED),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

Record = Callable[..., None]

_logger = logging.getLogger(__name__)


class Recorder:
    """record: is told of each request, by keywords: method, route (its template, never the path, which holds names),
    status, seconds and request_id. Nothing else of a request is handed on."""

    def __init__(self, app: App, *, record: Record, send_seconds: float) -> None:
        self._app, self._record, self._send_seconds = app, record, send_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = Call(request_id=_request_id(scope))
        inner = {**scope, "method": "GET" if scope["method"] == "HEAD" else scope["method"]}
        inner["state"] = {**scope.get("state", {}), "call": call}
        answer = _Answer(send, call, self._send_seconds)
        try:
            await self._serve(inner, receive, answer)
        finally:
            self._record(
                method=scope["method"] if scope["method"] in _METHODS else "other",
                route=str(getattr(inner.get("route"), "path", _NO_ROUTE)),
                status=answer.status or 499,
                seconds=time.monotonic() - call.since,
                request_id=call.request_id,
            )

    async def _serve(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        try:
            await self._app(scope, receive, answer)
        except ApiError as error:
            if not answer.status:
                await send_error(answer, error, answer.call.request_id)
        except _SlowReaderError:
            raise
        except Exception as error:
            # Neither its text nor its traceback, which may hold what a request brought.
            _logger.error("request %s failed: %s", answer.call.request_id, _place(error))
            if answer.status:
                raise
            await send_error(answer, internal_error(), answer.call.request_id)


class _SlowReaderError(Exception):
    """The client does not take its answer."""


class _Answer:
    """Sends with the headers that every answer has, and not for ever."""

    def __init__(self, send: Send, call: Call, seconds: float) -> None:
        self._send, self.call, self._seconds = send, call, seconds
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name.lower() for name, _ in message.get("headers", ())}
            milliseconds = (time.monotonic() - self.call.since) * 1e3
            message["headers"] = [
                *message.get("headers", ()),
                *(pair for pair in _SECURITY if pair[0] not in given),
                (b"x-request-id", self.call.request_id.encode()),
                (b"server-timing", f"total;dur={milliseconds:.1f}".encode()),
            ]
            await self._send(message)  # of the head, which is never waited for
            return
        try:
            async with asyncio.timeout(self._seconds):
                await self._send(message)
        except TimeoutError as error:
            raise _SlowReaderError from error


def _request_id(scope: Scope) -> str:
    given = header(scope, b"x-request-id")
    return given if given is not None and _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def _place(error: BaseException) -> str:
    """The class of an exception, and where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" in {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace is not None else ""
    return f"{type(error).__name__}{where}"
