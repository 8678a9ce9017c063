"""What every command shares: exit codes, log lines and progress, all on stderr."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ParamSpec

from efq.runtime.cleanup import undone_by_a_signal
from efq.runtime.commands.signals import said
from efq.runtime.errors import EfqError, MissingDependencyError
from efq.runtime.progress import Progress

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

PLAIN_LINE_SECONDS = 5.0

_TRAIN_PACKAGES = ("torch", "onnx", "onnx_ir", "ml_dtypes", "matplotlib")  # of the extra `train`

_STEERING = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}

Arguments = ParamSpec("Arguments")


def efq_command(function: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Decorate the function of a click command: an EfqError becomes `error: ...` on stderr and its exit code.

    So do a package of the extra `train` that is not installed, and what the system refuses (OSError: no room on a
    disk, no permission) or has too little of (MemoryError); an interrupt (Ctrl-C) ends with exit code 130, as do the
    signals of `commands.signals`, that come first where a command was started by its name. Any other exception is a
    bug and keeps its traceback. What EFQ's modules log, from INFO on, is printed to stderr meanwhile.
    """

    @functools.wraps(function)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        with _log_shown():
            try:
                function(*args, **kwargs)
            except EfqError as error:
                log(f"error: {error}")
                sys.exit(error.exit_code)
            except ModuleNotFoundError as error:
                package = str(error.name).partition(".")[0]
                if package not in _TRAIN_PACKAGES:
                    raise
                log(f"error: this command needs {package}; install it with: pip install 'efq[train]'")
                sys.exit(MissingDependencyError.exit_code)
            except (OSError, MemoryError) as error:
                log(f"error: {_of_the_system(error)}")
                sys.exit(EfqError.exit_code)
            except KeyboardInterrupt:
                log(said(signal.SIGINT))
                sys.exit(128 + signal.SIGINT)

    return wrapper


def log(message: str) -> None:
    """Print one line to stderr; what cannot be printed there is lost, and ends nothing.

    Characters that steer a terminal are shown as escapes: names of files may hold them.
    """
    with contextlib.suppress(OSError, ValueError):
        print(message.translate(_STEERING), file=sys.stderr, flush=True)


def _of_the_system(error: OSError | MemoryError) -> str:
    if isinstance(error, MemoryError):
        return f"expected more memory, found too little for this: {error or 'take less at once'}"
    found = error.strerror or str(error) or type(error).__name__
    return f"{error.filename}: {found}" if error.filename else found


class _StderrHandler(logging.Handler):
    """A line for each record, to what stderr is at that moment; warnings say that they are."""

    def emit(self, record: logging.LogRecord) -> None:
        log(f"warning: {record.getMessage()}" if record.levelno >= logging.WARNING else record.getMessage())


@contextlib.contextmanager
def _log_shown() -> Iterator[None]:
    logger, handler = logging.getLogger("efq"), _StderrHandler()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str = "") -> Iterator[Progress]:
    """A `ShowProgress` for commands, on stderr.

    A bar on a terminal, otherwise a plain line every few seconds and one at the end.
    """
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _rich_progress() as bar, undone_by_a_signal(_show_cursor):
            yield _BarProgress(bar, bar.add_task(description, total=total, fields="", rate=""), unit)
        return
    lines = _LineProgress(description, total, unit)
    try:
        yield lines
    finally:
        lines.finish()


class _LineProgress:
    """Progress as plain lines, for logs and pipes."""

    def __init__(self, description: str, total: int | None, unit: str) -> None:
        self._description = description
        self._total = total
        self._unit = unit
        self._count = 0
        self._fields: dict[str, float | str] = {}
        self._start = self._last_line = time.monotonic()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self._count += n
        self._fields |= fields
        now = time.monotonic()
        if now - self._last_line >= PLAIN_LINE_SECONDS:
            self._last_line = now
            self._print(now - self._start, finished=False)

    def finish(self) -> None:
        self._print(time.monotonic() - self._start, finished=True)

    def _print(self, elapsed: float, *, finished: bool) -> None:
        count = f"{self._count}" if self._total is None else f"{self._count}/{self._total}"
        parts = [f"{count} {self._unit}".rstrip(), _rate(self._count, elapsed, self._unit), _fields(self._fields)]
        if finished:
            parts.append(f"took {_duration(elapsed)}")
        elif self._total is not None and self._count:
            remaining = elapsed / self._count * max(self._total - self._count, 0)
            parts.append(f"{_duration(remaining)} left")
        log(f"{self._description}: {', '.join(part for part in parts if part)}")


class _BarProgress:
    """Progress as a bar on a terminal."""

    def __init__(self, bar: RichProgress, task: TaskID, unit: str) -> None:
        self._bar = bar
        self._task = task
        self._unit = unit
        self._count = 0
        self._fields: dict[str, float | str] = {}
        self._start = time.monotonic()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self._count += n
        self._fields |= fields
        rate = _rate(self._count, time.monotonic() - self._start, self._unit)
        self._bar.update(self._task, advance=n, fields=_fields(self._fields), rate=rate)


def _show_cursor() -> None:
    """What the bar hides while it is there, written past its locks."""
    os.write(2, b"\x1b[?25h\n")


def _rich_progress() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[fields]}", markup=False),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _rate(count: int, elapsed: float, unit: str) -> str:
    if not count or elapsed <= 0:
        return ""
    rate = count / elapsed
    number = f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"
    return f"{number} {unit or 'items'}/s"


def _fields(fields: dict[str, float | str]) -> str:
    return ", ".join(f"{name} {value if isinstance(value, str) else f'{value:.4g}'}" for name, value in fields.items())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
