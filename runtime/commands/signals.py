"""How SIGINT, SIGTERM and SIGHUP end a command: temporary files and children go, one line is said, nothing else runs.

The process ends where the signal finds it. An exception in its place would have to pass through whatever is at work,
and not all of that lets it: an import that wraps it, a callback or destructor that prints it and goes on, the end of
the interpreter. What has to be undone is registered in `efq.runtime.cleanup`.

Python runs a handler between two steps of the main thread. While that is inside a long call of a library a second
thread, woken at once by the signal, waits for a moment and then ends the process in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from _thread import allocate_lock, get_ident, start_new_thread
from types import FrameType

GRACE_SECONDS = 1.0

_WORDS = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "terminated, as the terminal was closed"}
_ending = allocate_lock()
_ends_it: list[int] = []  # the thread that does


def end_this_process() -> None:
    """Have those signals end this process; one that it was started to ignore (nohup, a shell's `&`) stays ignored.

    In another thread than the main one nothing changes: Python sets handlers there alone.
    """
    try:
        found = [number for number in _numbers() if signal.getsignal(number) is not signal.SIG_IGN]
        for number in found:
            signal.signal(number, _on_signal)
        if found and os.name == "posix":
            _watch()
    except ValueError:
        return


def ignore() -> None:
    """Ignore them: the work is done, and the interpreter's own end is not to be disturbed."""
    for number in _numbers():
        if signal.getsignal(number) is _on_signal:
            signal.signal(number, signal.SIG_IGN)


def said(number: int) -> str:
    """The line for a signal."""
    return _WORDS.get(signal.Signals(number).name, f"ended by {signal.Signals(number).name}")


def _numbers() -> list[signal.Signals]:
    return [getattr(signal, name) for name in _WORDS if hasattr(signal, name)]


def _on_signal(number: int, frame: FrameType | None) -> None:
    _end(number)


def _watch() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    start_new_thread(_wait, (reading,))


def _wait(reading: int) -> None:
    while number := os.read(reading, 1):
        if number[0] in _numbers():
            time.sleep(GRACE_SECONDS)
            if signal.getsignal(number[0]) is _on_signal:
                _end(number[0])


def _end(number: int) -> None:
    if not _ending.acquire(blocking=False):
        if _ends_it == [get_ident()]:
            return  # a second signal while this thread cleans up
        while True:
            time.sleep(1)  # the other thread ends the process
    _ends_it.append(get_ident())
    cleanup = sys.modules.get("efq.runtime.cleanup")  # without it there is nothing to undo
    if cleanup is not None and hasattr(cleanup, "undo_all"):
        cleanup.undo_all()
    with contextlib.suppress(OSError):
        os.write(2, f"{said(number)}\n".encode())
    os._exit(128 + number)
