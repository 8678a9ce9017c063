"""A file that holds many images, and the words for what of a source is no face."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.faces.scan import LeftOut
from efq.runtime.file_kinds import FIRST_BYTES
from efq.runtime.reading import open_regular
from efq.toolchain.data.sources.source import Fingerprint

_LARGEST = 1 << 50
_DIGITS = 8

_logger = logging.getLogger(__name__)


class Container:
    """A regular file that is read in parts; each part is of the file as it was when it was first opened.

    It is opened anew for each read, so that there is nothing to close or to share between threads and processes. A
    file that was changed, cut or replaced since is an InputError: of a mapped one the process would end (SIGBUS).
    Raises InputError where there is no such file; `expected` says what should be there.
    """

    def __init__(self, path: Path, *, expected: str) -> None:
        self.path, self._expected = path, expected
        with open_regular(path, limit=_LARGEST, expected=expected) as file:
            status = os.fstat(file.fileno())
        self.size = status.st_size
        self._state = _state(status)
        self._place = os.path.realpath(path)

    @contextlib.contextmanager
    def open(self) -> Iterator[BufferedReader]:
        """The file, for reading. Raises InputError for another one than at first, and for errors of the disk."""
        with open_regular(self.path, limit=_LARGEST, expected=self._expected) as file:
            self._compare(os.fstat(file.fileno()))
            yield file

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from `start` on. Raises InputError as `open` does."""
        with self.open() as file:
            file.seek(start)
            return file.read(size)

    def fingerprint(self) -> Fingerprint:
        """The file's place, size and times of change. Raises InputError where it has others than at first."""
        try:
            self._compare(self.path.stat())
        except OSError as error:
            message = f"expected {self._expected} at {self.path}, found: {error.strerror or error}"
            raise InputError(message) from error
        return self._place, *self._state

    def _compare(self, status: os.stat_result) -> None:
        if _state(status) != self._state:
            message = f"expected {self.path} as it was when it was opened, found it changed since; start again"
            raise InputError(message)


def log_left_out(source: str, found: LeftOut) -> None:
    """Say what was left out of a source, where anything was: a warning, unless nothing else was to be expected."""
    if found:
        level = logging.INFO if found.all_expected else logging.WARNING
        _logger.log(level, "left out of %s: %s", source, found)


def is_file(path: Path) -> bool:
    """Whether there is a regular file, or a link to one."""
    return os.path.isfile(path)  # noqa: PTH113 (of a Path it may raise)


def first_bytes(path: Path) -> bytes:
    """The first `FIRST_BYTES` of a regular file; none of what cannot be read."""
    try:
        with open_regular(path, limit=_LARGEST, expected="a file of faces") as file:
            return file.read(FIRST_BYTES)
    except InputError:
        return b""


def number_name(number: int) -> str:
    """A number as a name that is sorted as the number is: eight digits or more."""
    return f"{number:0{_DIGITS}d}"


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
