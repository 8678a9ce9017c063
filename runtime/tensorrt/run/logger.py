"""TensorRT's log. The reason of a failure is nowhere else: the calls themselves answer None or False."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

from efq.runtime.tensorrt.api import TensorRT

_LEVELS = {"INTERNAL_ERROR": logging.ERROR, "ERROR": logging.ERROR, "WARNING": logging.WARNING, "INFO": logging.INFO}

_loggers: dict[str, tuple[Any, LogRecorder]] = {}
_loggers_lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class Message:
    """One message; `severity` is INTERNAL_ERROR, ERROR, WARNING, INFO or VERBOSE."""

    severity: str
    text: str

    @property
    def is_error(self) -> bool:
        return _LEVELS.get(self.severity) == logging.ERROR


class LogRecorder:
    """Hands what TensorRT logs to whoever records at that time, and to Python's logging below its own level."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recordings: list[list[Message]] = []
        self._logger = logging.getLogger(__name__)

    def add(self, severity: str, text: str) -> None:
        """Take one message; called from any thread."""
        # Failures are raised as well: as warnings they would be said twice.
        self._logger.debug("%s: %s", severity, text)
        with self._lock:
            for messages in self._recordings:
                messages.append(Message(severity, text))

    @contextlib.contextmanager
    def recording(self) -> Iterator[list[Message]]:
        """Collect the messages that come, from any thread, until the block ends."""
        messages: list[Message] = []
        with self._lock:
            self._recordings.append(messages)
        try:
            yield messages
        finally:
            with self._lock:
                self._recordings = [other for other in self._recordings if other is not messages]


def process_logger(module: TensorRT) -> tuple[Any, LogRecorder]:
    """The one ILogger that this process gives to `module`, and what receives its messages.

    TensorRT keeps the first logger it was given for as long as the process lives, so it must never be freed.
    """
    with _loggers_lock:
        if module.__name__ not in _loggers:
            recorder = LogRecorder()
            _loggers[module.__name__] = _make_logger(module, recorder), recorder
        return _loggers[module.__name__]


def failure_reason(messages: Sequence[Message]) -> str:
    """The first error of the log, which later ones only follow from; else its last words."""
    errors = [message.text for message in messages if message.is_error]
    if errors:
        return errors[0]
    return messages[-1].text if messages else "no reason in TensorRT's log"


def _make_logger(module: TensorRT, recorder: LogRecorder) -> Any:
    class Logger(module.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            module.ILogger.__init__(self)

        def log(self, severity: Any, text: str) -> None:
            recorder.add(severity.name, text)

    return Logger()
