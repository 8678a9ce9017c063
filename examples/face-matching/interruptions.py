"""Signals that end the example: never amid the start or the end of what would stay running."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _State:
    held = 0
    arrived = False


def take_signals() -> None:
    """Ctrl-C, SIGTERM and a closed terminal raise KeyboardInterrupt, once; what is ignored, as by nohup, stays so."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _arrive)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal within the block interrupts at its end."""
    _State.held += 1
    try:
        yield
    finally:
        _State.held -= 1
        if _State.arrived and not _State.held:
            _interrupt()


def _arrive(number: int, frame: FrameType | None) -> None:
    if _State.held:
        _State.arrived = True
    else:
        _interrupt()


def _interrupt() -> None:
    _State.arrived = False
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # the terminal may be gone
        print("interrupted; ending what was started", file=sys.stderr, flush=True)
    raise KeyboardInterrupt
