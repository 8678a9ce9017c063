"""The connections of one gallery: a few, each used by one thread at a time, made anew where the server dropped them."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from efq.runtime.errors import GalleryError, UsageError
from efq.runtime.gallery.stores.postgresql.address import Address
from efq.runtime.gallery.stores.postgresql.failures import failures, is_lost

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")

MOST_CONNECTIONS = 8
LONGEST_WAIT = 30.0
"""Seconds until a connection is free."""

_inherited: list[object] = []  # connections of a parent process: neither used nor closed here
_all: weakref.WeakSet[Connections] = weakref.WeakSet()


class Connections:
    """Up to `most` connections to one address. `prepare` readies each new one.

    erasing: held by who erases, so that removals of many threads do not take all connections to wait for each other.
    """

    def __init__(self, address: Address, prepare: Callable[[Connection], None], most: int = MOST_CONNECTIONS) -> None:
        self.address = address
        self._prepare = prepare
        self._most = most
        self._closed = False
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        self._free = threading.Condition()
        self.erasing = threading.Lock()
        self._idle: list[Connection] = []
        self._used = 0

    def leave_to_parent(self) -> None:
        """After a fork: the sockets are the parent's."""
        _inherited.append(self._idle)
        self._renew()

    def read(self, work: Callable[[Connection], Result], doing: str) -> Result:
        """What `work`, which changes nothing, gives; once more where an old connection turns out to be dropped.

        Raises GalleryError, UsageError once closed.
        """
        with failures(self.address, doing):
            try:
                with self.one() as connection:
                    return work(connection)
            except psycopg.OperationalError as error:
                if not is_lost(error):
                    raise
            with self.one(fresh=True) as connection:
                return work(connection)

    @contextlib.contextmanager
    def one(self, *, fresh: bool = False) -> Iterator[Connection]:
        """A connection for this thread alone, in no transaction; one left in a transaction is closed afterwards.

        Raises psycopg.Error for a server that cannot be reached, GalleryError where none is free for long.
        """
        free = self._free
        connection = self._take(fresh=fresh)
        try:
            yield connection
        finally:
            usable = not connection.closed and connection.pgconn.transaction_status == TransactionStatus.IDLE
            with free:
                self._used -= 1
                if usable and not self._closed:
                    self._idle.append(connection)
                else:
                    connection.close()
                free.notify()

    def close(self) -> None:
        """Close those that nobody uses now; the others as they come back."""
        with self._free:
            self._closed = True
            idle, self._idle = self._idle, []
            self._free.notify_all()
        for connection in idle:
            connection.close()

    def _take(self, *, fresh: bool) -> Connection:
        end = time.monotonic() + LONGEST_WAIT
        dropped: list[Connection] = []
        with self._free:
            while True:
                if self._closed:
                    message = "expected an open gallery, found one that was closed; open it again"
                    raise UsageError(message)
                if fresh:
                    dropped += self._idle
                    self._idle = []
                if self._idle or self._used < self._most:
                    break
                if not self._free.wait(end - time.monotonic()):
                    message = f"expected a connection to PostgreSQL within {LONGEST_WAIT:g} s, found all in use"
                    raise GalleryError(message)
            self._used += 1
            found = self._idle.pop() if self._idle else None
        for connection in dropped:
            connection.close()
        if found is not None and _is_quiet(found):
            return found
        try:
            if found is not None:
                found.close()
            return self._connect()
        except BaseException:
            with self._free:
                self._used -= 1
                self._free.notify()
            raise

    def _connect(self) -> Connection:
        connection: Connection = psycopg.connect(**self.address.parameters, autocommit=True)  # type: ignore[arg-type]
        try:
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection


def _is_quiet(connection: Connection) -> bool:
    """Whether nothing came meanwhile: from an idle server, that is how it says that it is leaving."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return not connection.closed and not poll.poll(0)


def _leave_to_parent() -> None:
    for connections in list(_all):
        connections.leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)
