"""A run on a Ray cluster, seen from the process that asked for it: another one talks to Ray, and is watched.

Ray ends a process that has lost its cluster with a message of its own, or waits for as long as one waits for machines
that may come back. Here both are a DeviceError within a time: the process that joins the cluster (`ray_cluster.drive`)
is a child, which says when it has joined and what came of each shard, and which is killed where the cluster does not
answer any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import multiprocessing
import os
import re
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from efq.runtime.bulk.ray_cluster import LOCAL, Joined, drive
from efq.runtime.bulk.record import Outcome
from efq.runtime.bulk.workers.children import signals_held
from efq.runtime.bulk.workers.task import BulkTask
from efq.runtime.cleanup import descendants, kill_all, undone_by_a_signal
from efq.runtime.errors import DeviceError, MissingDependencyError, UsageError
from efq.runtime.files import temporary_folder
from efq.runtime.progress import ShowProgress, no_progress

RUNNING = "auto"

_ADDRESS = re.compile(r"([A-Za-z0-9._-]+):([0-9]{1,5})|\[([0-9A-Fa-f:]+)\]:([0-9]{1,5})")
_LONGEST_FOLDER = 42  # bytes: Ray puts sockets below, whose paths have 107 at most
_CONNECT, _LOOK = 10.0, 2.0  # seconds that a connection may take; between two looks at a cluster that says nothing
_JOIN, _GONE = 180.0, 30.0  # seconds until a cluster has answered, and until one that does not is given up

_logger = logging.getLogger(__name__)


def check_ray(address: str) -> None:
    """Raise UsageError for what names no cluster, and MissingDependencyError without Ray."""
    if address not in (LOCAL, RUNNING):
        _host_and_port(address)
    if importlib.util.find_spec("ray") is None:
        message = "this needs Ray, which is not installed; install it with: pip install 'efq[ray]'"
        raise MissingDependencyError(message)


def embed_on_ray(
    task: BulkTask, shards: Sequence[int], *, address: str, cpus: int, progress: ShowProgress = no_progress
) -> Iterator[Outcome]:
    """Embed `shards` on the cluster at `address`, and yield what came of each when it is written.

    cpus: of an actor, where the artifact runs on CPUs; otherwise an actor has a GPU. Raises what embedding does there,
    MissingDependencyError without Ray, UsageError for an address that is none, DeviceError for a cluster that cannot be
    reached or joined within three minutes, has no such share, fails, or does not answer for half a minute.
    """
    check_ray(address)
    if address not in (LOCAL, RUNNING):
        _check_reached(address)
    with contextlib.ExitStack() as stack:
        folder = _short(stack.enter_context(temporary_folder("ray"))) if address == LOCAL else None
        driver = stack.enter_context(_driver(task, shards, address, cpus, folder))
        yield from driver.outcomes()


@dataclasses.dataclass(eq=False)
class _Driver:
    """The child, and the pipe that it answers through."""

    process: BaseProcess
    pipe: Connection
    address: str

    def outcomes(self) -> Iterator[Outcome]:
        """What it says, until it has embedded everything. Raises what it raises, and DeviceError."""
        until = time.monotonic() + _JOIN
        cluster: str | None = None
        while (answer := self._answer(cluster, until)) is not None:
            if isinstance(answer, Joined):
                cluster = answer.address
                _logger.info("%d actors embed, each with %s", answer.actors, answer.share)
            elif isinstance(answer, Exception):
                raise answer
            else:
                yield answer

    def _answer(self, cluster: str | None, until: float) -> Outcome | Joined | Exception | None:
        """The next thing that it says. cluster: None until it has joined one, which is to be `until` then."""
        try:
            while not self.pipe.poll(_LOOK):
                if cluster is None and time.monotonic() > until:
                    raise _no_cluster(self.address, f"none that lets this machine join within {_JOIN:g} s")
                if cluster is not None:
                    _check_still_there(cluster)
            answer: Outcome | Joined | Exception | None = self.pipe.recv()
        except (EOFError, OSError) as error:
            self.process.join(_CONNECT)
            message = (
                f"expected the process that talks to the Ray cluster ({self.address}) to live on, found that it ended "
                f"(exit code {self.process.exitcode}), as it does when the cluster goes away or memory runs out"
            )
            raise DeviceError(message) from error
        return answer


@contextlib.contextmanager
def _driver(task: BulkTask, shards: Sequence[int], address: str, cpus: int, folder: Path | None) -> Iterator[_Driver]:
    """A child that ends with the block, with all that it started, and with this process however it ends."""
    context = multiprocessing.get_context("spawn")  # a fork would come without the threads of this process
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=drive, args=(task, tuple(shards), address, cpus, folder, there))

    def kill() -> None:
        if process.pid is not None:
            kill_all([process.pid, *descendants(process.pid)])

    with contextlib.closing(here), undone_by_a_signal(kill):
        with signals_held():  # also from what starts, which would print a traceback
            process.start()
        there.close()
        try:
            yield _Driver(process, here, address)
        finally:
            kill()
            process.join()


def _check_still_there(cluster: str) -> None:
    """Raise DeviceError where a cluster that was joined takes no connection for `_GONE` seconds."""
    until = time.monotonic() + _GONE
    while (reason := _refusal(cluster)) is not None:
        if time.monotonic() > until:
            message = (
                f"expected the Ray cluster at {cluster} until the shards are embedded, found that it went: {reason}"
            )
            raise DeviceError(message)
        time.sleep(_LOOK)


def _check_reached(address: str) -> None:
    """Raise DeviceError where nothing takes a connection: Ray would try for minutes."""
    reason = _refusal(address)
    if reason is not None:
        raise _no_cluster(address, f"nothing that listens: {reason}")


def _refusal(address: str) -> str | None:
    """Why nothing takes a connection there; None where something does."""
    try:
        socket.create_connection(_host_and_port(address), _CONNECT).close()
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _host_and_port(address: str) -> tuple[str, int]:
    """Raises UsageError for what is no HOST:PORT."""
    found = _ADDRESS.fullmatch(address)
    host, port = (found[1] or found[3], int(found[2] or found[4])) if found else ("", 0)
    if not 0 < port < 65_536:
        message = f"expected HOST:PORT of a Ray cluster, {RUNNING} or {LOCAL} after --ray, found {address[:100]!r}"
        raise UsageError(message)
    return host, port


def _no_cluster(address: str, found: str) -> DeviceError:
    return DeviceError(f"expected a Ray cluster ({address}), found {found}")


def _short(folder: Path) -> Path:
    """Raises UsageError for a folder whose path is too long for Ray's sockets."""
    if len(os.fsencode(folder)) > _LONGEST_FOLDER:
        message = (
            f"expected a folder for temporary files with a short path for Ray, found {tempfile.gettempdir()}; set "
            "TMPDIR to /tmp or the like"
        )
        raise UsageError(message)
    return folder
