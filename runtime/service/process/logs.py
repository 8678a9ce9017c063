"""Lines of JSON for whoever keeps logs, from a thread of its own: a reader that is slow holds up no request."""

from __future__ import annotations

import datetime
import json
import logging
import queue
import threading
from collections.abc import Callable
from typing import Any

_MOST_WAITING = 10_000


class JsonLog:
    """write: is given each line, with its end. Lines beyond `_MOST_WAITING` that wait are lost, and counted."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lines: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._lost = 0
        self._thread = threading.Thread(target=self._run, name="efq-log", daemon=True)
        self._thread.start()

    def line(self, event: str, **values: Any) -> None:
        """One line; the values are plain."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        lost = {"lines_lost": self._lost} if self._lost else {}
        try:
            self._lines.put_nowait(json.dumps({"time": now, "event": event, **values, **lost}) + "\n")
            self._lost = 0 if lost else self._lost
        except queue.Full:
            self._lost += 1

    def request(self, *, method: str, route: str, status: int, seconds: float, request_id: str) -> None:
        """A request: its route's template, never its path or its query."""
        milliseconds = round(seconds * 1e3, 1)
        self.line("request", method=method, route=route, status=status, ms=milliseconds, request_id=request_id)

    def close(self) -> None:
        """Write what waits, within a second."""
        try:
            self._lines.put(None, timeout=1)
        except queue.Full:
            return
        self._thread.join(timeout=1)

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)


class LogHandler(logging.Handler):
    """What libraries log, as lines of a `JsonLog`; of an exception its class alone."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        more = {} if error is None else {"error": error}
        self._log.line("log", level=record.levelname.lower(), message=record.getMessage(), **more)
