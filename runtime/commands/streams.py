"""stdout and stderr that never end a run: closed, full, without a reader, or of an encoding that lacks a character.

What fails on stderr is lost. What fails on stdout is remembered: the run goes on, as there may be files to write, and
ends with an error unless it was the reader that had enough (`| head -1`).
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import IO, cast


class _Lenient(io.TextIOWrapper):
    """Text that goes nowhere, instead of raising, once the file below it has failed."""

    failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._fail(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.failure = self.failure or error
        with contextlib.suppress(OSError):  # what is left in the buffers, and what follows, must not fail again
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


def keep_writable() -> None:
    """Make sys.stdout and sys.stderr such streams; descriptors 0 to 2 that are closed are opened on nothing.

    Otherwise the next file that is opened would have their numbers, and what a library prints would go into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _lenient(sys.stdout), _lenient(sys.stderr)


def finish(code: str | int | None) -> str | int | None:
    """Flush both; `code`, or 1 in place of 0 where stdout failed and somebody was to read it."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is None or failure.errno == errno.EPIPE:
        return code
    print(f"error: cannot write to stdout: {failure.strerror}", file=sys.stderr, flush=True)
    return code or 1


def _lenient(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 (pathlib takes long to import)
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    errors = "backslashreplace" if stream.errors in ("strict", "surrogateescape") else stream.errors
    buffer = cast("io.BufferedWriter", stream.buffer)
    return _Lenient(buffer, stream.encoding, errors, line_buffering=stream.line_buffering)
