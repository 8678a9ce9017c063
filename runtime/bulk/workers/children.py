"""Processes that embed: each with its own model, fed and read through a pipe by a thread of this process."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import queue
import signal
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from efq.runtime.bulk.listing.listed import ListedImage
from efq.runtime.bulk.workers.part import Part, embed_part
from efq.runtime.bulk.workers.task import BulkTask, OpenTask, open_task
from efq.runtime.cleanup import end_with_parent, undone_by_a_signal
from efq.runtime.errors import DeviceError, EfqError

_HELD = {signal.SIGINT, *(getattr(signal, name) for name in ("SIGHUP",) if hasattr(signal, name))}
_PATIENCE = 5.0  # seconds


class Children:
    """`task.workers` processes; `embed` may be called by as many threads at once."""

    def __init__(self, task: BulkTask) -> None:
        self._free: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._processes: list[BaseProcess] = []
        self._pipes: list[Connection] = []
        context = multiprocessing.get_context("spawn")  # a fork would come without the threads of this process
        with signals_held():  # also from what starts, which would print a traceback
            for _ in range(task.workers):
                here, there = context.Pipe()
                process = context.Process(target=_serve, args=(task, there), daemon=True)
                process.start()
                there.close()
                self._processes.append(process)
                self._pipes.append(here)
                self._free.put(here)

    def embed(self, images: Sequence[ListedImage]) -> Part:
        """What some images give. Raises what embedding does, and DeviceError for a process that ended."""
        pipe = self._free.get()
        try:
            pipe.send(images)
            answer: Part | Exception = pipe.recv()
        except (EOFError, OSError) as error:
            message = (
                "expected the processes that embed to live on, found that one ended, as it does when memory runs out; "
                "fewer --threads take less, and --resume goes on"
            )
            raise DeviceError(message) from error
        finally:
            self._free.put(pipe)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self) -> None:
        """End the processes without waiting for them."""
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_PATIENCE)
            process.kill()
            process.join()
            process.close()


@contextlib.contextmanager
def children(task: BulkTask) -> Iterator[Children]:
    """Processes that end with the block, and with this process however it ends."""
    found = Children(task)
    with undone_by_a_signal(found.kill):
        try:
            yield found
        except BaseException:
            found.kill()
            raise
        finally:
            found.close()


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Signals that a terminal sends to a group of processes wait, also for those that are started here."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_as_child() -> None:
    """What a child does first: it leaves signals and messages to its parent, and ends with it."""
    for number in _HELD:
        signal.signal(number, signal.SIG_IGN)  # the parent ends this process
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)
    logging.getLogger("efq").addHandler(logging.NullHandler())  # the parent has said it
    end_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def _serve(task: BulkTask, pipe: Connection) -> None:
    """What a child does until its pipe is closed."""
    begin_as_child()
    opened: OpenTask | None = None
    with contextlib.ExitStack() as stack, contextlib.suppress(EOFError, OSError):
        while True:
            images = pipe.recv()
            try:
                opened = opened or stack.enter_context(open_task(task))
                answer: Part | Exception = embed_part(opened, images)
            except (EfqError, OSError, MemoryError) as error:
                answer = error
            pipe.send(answer)
