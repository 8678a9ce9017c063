"""How the backends of the CPU spread a batch over threads."""

from __future__ import annotations

import contextlib
import functools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.backends.threads.lifetime import interpreter_ends

RunPart = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
_Tasks = queue.SimpleQueue[Callable[[], None] | None]


class Workers:
    """Runs the parts of a batch on `threads` threads, each part in one thread.

    Splitting by image needs no synchronization within the network, so it scales where threads that share every layer
    wait for each other. The same batch is always split alike, whatever else runs. Each thread is bound to one of
    `cpus`, as far as they go. The threads end with `close`, or with the last reference.

    They and their callers wait in queues of C only: a signal handler that raises would leave the locks of
    `concurrent.futures`, which are Python's, taken for ever.
    """

    def __init__(self, threads: int, *, part_size: int, cpus: Sequence[int] = ()) -> None:
        self._threads = threads
        self._part_size = part_size
        self._tasks: _Tasks = queue.SimpleQueue()
        self._cpus = [*cpus, *[None] * threads][:threads]
        self._starting = threading.RLock()
        self._started: list[threading.Thread] = []
        weakref.finalize(self, self._tasks.put, None).atexit = False

    def run(self, images: NDArray[np.uint8], run_part: RunPart) -> NDArray[np.float32]:
        """`run_part` on parts of at most `part_size` images, joined in their order."""
        size = min(self._part_size, -(-len(images) // self._threads))
        parts = [images[start : start + size] for start in range(0, len(images), size)]
        if len(parts) > 1 and self._threads > 1 and not interpreter_ends() and self._are_started():
            return np.concatenate(_run_in(self._tasks, parts, run_part))
        return np.concatenate([run_part(part) for part in parts])

    def close(self) -> None:
        """End the threads, after what they are at."""
        self._tasks.put(None)
        for thread in self._started:
            thread.join()

    def _are_started(self) -> bool:
        """Start the threads with the first batch. Where none can be made, the caller does the work."""
        with self._starting, contextlib.suppress(RuntimeError):
            for cpu in self._cpus[len(self._started) :]:
                # A thread must not hold this object, which ends it.
                thread = threading.Thread(target=_work, args=(self._tasks, cpu), name="efq", daemon=True)
                thread.start()
                self._started.append(thread)
        return bool(self._started)


def _work(tasks: _Tasks, cpu: int | None) -> None:
    if cpu is not None:
        with contextlib.suppress(OSError):  # the process' CPUs may have been taken away meanwhile
            os.sched_setaffinity(0, {cpu})
    while (task := tasks.get()) is not None:
        task()
        del task  # with the images it holds
    tasks.put(None)  # for the next thread, also one that was interrupted as it was started, and is in no list


def _run_in(tasks: _Tasks, parts: Sequence[NDArray[np.uint8]], run_part: RunPart) -> list[NDArray[np.float32]]:
    """Each part as a task. The first error is raised; parts that were not begun by then are left out."""
    done: queue.SimpleQueue[tuple[int, NDArray[np.float32] | BaseException]] = queue.SimpleQueue()
    given_up: list[bool] = []

    def run(number: int) -> None:
        if given_up:
            return
        try:
            done.put((number, run_part(parts[number])))
        except BaseException as error:
            done.put((number, error))

    found: dict[int, NDArray[np.float32]] = {}
    try:
        for number in range(len(parts)):
            tasks.put(functools.partial(run, number))
        while len(found) < len(parts):
            number, result = done.get()
            if isinstance(result, BaseException):
                raise result
            found[number] = result
    except BaseException:
        given_up.append(True)
        raise
    return [found[number] for number in range(len(parts))]
