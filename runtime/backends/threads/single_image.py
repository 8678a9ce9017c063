"""Whether one image is computed by all threads or by one: by what was faster in the latest calls.

Threads that share a network's layers wait for each other some hundred times an image. In a small network that can
cost more than they save, by how far apart the CPUs are, which a virtual machine does not say and its host may change
(docs/decisions/0037-one-image-by-one-thread-where-faster.md).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

TRIAL_CALLS = 9
WARM_UP_CALLS = 2
SECONDS_BETWEEN_TRIALS = 2.0
CALLS_BETWEEN_TRIALS = 200

LONG_SECONDS = 0.005
"""A network that takes all threads longer than this is not tried on one: its layers are long enough to share."""

LEAST_GAIN = 0.95
"""All threads are taken where they need less than this share of one thread's time: they take the CPUs of others."""

_logger = logging.getLogger(__name__)


class SingleImageThreads:
    """Says for each call whether all threads compute it, and learns from the calls' times; used by threads at once.

    The first `TRIAL_CALLS` calls go to all threads, as many to one, those of the next `SECONDS_BETWEEN_TRIALS`,
    `CALLS_BETWEEN_TRIALS` at least, to whichever was faster by the median, then it is tried again. `clock` gives
    seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._times: dict[bool, list[float]] = {True: [], False: []}
        self._chosen = True
        self._settled_until: float | None = None
        self._settled_calls = 0

    def use_all(self) -> bool:
        """Whether the next call is for all threads, not for one."""
        with self._lock:
            if self._is_settled():
                return self._chosen
            return len(self._times[True]) < TRIAL_CALLS

    def record(self, *, all_threads: bool, seconds: float) -> None:
        """What a call took."""
        with self._lock:
            if self._is_settled():
                self._settled_calls += 1
                return
            self._times[all_threads].append(seconds)
            if len(self._times[True]) >= TRIAL_CALLS and _median(self._times[True]) > LONG_SECONDS:
                self._settle(all_threads=True)
            elif min(len(times) for times in self._times.values()) >= TRIAL_CALLS:
                together, alone = _median(self._times[True]), _median(self._times[False])
                faster = together < LEAST_GAIN * alone
                if faster is not self._chosen:
                    _logger.debug("one image takes all threads %.2f ms, one %.2f ms", together * 1e3, alone * 1e3)
                self._settle(all_threads=faster)

    def _is_settled(self) -> bool:
        if self._settled_until is None:
            return False
        return self._settled_calls < CALLS_BETWEEN_TRIALS or self._clock() < self._settled_until

    def _settle(self, *, all_threads: bool) -> None:
        self._chosen, self._settled_until = all_threads, self._clock() + SECONDS_BETWEEN_TRIALS
        self._settled_calls = 0
        self._times = {True: [], False: []}


def _median(times: list[float]) -> float:
    import statistics  # a service of one thread starts without it

    return statistics.median(times[WARM_UP_CALLS:])
