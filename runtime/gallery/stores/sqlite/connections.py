"""Connections to one database file: one that writes, others that read, and what their errors mean."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from efq.runtime.errors import GalleryError, UsageError
from efq.runtime.gallery.stores.sqlite import forks
from efq.runtime.gallery.stores.sqlite.connection import Connection
from efq.runtime.gallery.stores.sqlite.place import Identity, identity_of, release
from efq.runtime.machine.forks import keep_for_ever

BUSY_SECONDS = 5.0
"""How long a call waits for another process that writes."""

_MOST_IDLE = 8
_MEANINGS = {
    sqlite3.SQLITE_BUSY: f"another process at work on it for {BUSY_SECONDS:g} seconds; try again",
    sqlite3.SQLITE_LOCKED: "another call at work on it; try again",
    sqlite3.SQLITE_FULL: "no room on the disk, and nothing was changed; make room and try again",
    sqlite3.SQLITE_READONLY: "a file that may not be written",
    sqlite3.SQLITE_CANTOPEN: "a file or folder that may not be written, or is not there",
    sqlite3.SQLITE_NOTADB: "a damaged file; restore it from a copy",
    sqlite3.SQLITE_CORRUPT: "a damaged file; restore it from a copy",
}


class Connections:
    """Those of a file that is held: opened when needed, closed before a fork. For any number of threads."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path, self._identity = path, identity
        self.was_inherited = False
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._idle_lock, self._write_lock = threading.Lock(), threading.Lock()
        self._closed = self._gone = False
        self._era = self._lent = 0
        forks.watch(self)

    @property
    def is_open(self) -> bool:
        """Whether there are open ones."""
        return bool(self._idle) or self._writer is not None

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection of this thread's alone for the block. Raises GalleryError where the database fails."""
        with forks.at_work(), self._translated():
            self._check()
            with self._idle_lock:
                self._check_open()
                connection, opened_in = self._idle.pop() if self._idle else None, self._era
                self._lent += 1
            is_sound = False
            try:
                connection = connection or self._connect()
                yield connection
                is_sound = True
            finally:
                self._take_back(connection, is_kept=is_sound and opened_in == self._era)

    def _take_back(self, connection: sqlite3.Connection | None, *, is_kept: bool) -> None:
        with self._idle_lock:
            if connection is not None and is_kept and len(self._idle) < _MOST_IDLE and not self._closed:
                self._idle.append(connection)
            elif connection is not None:
                connection.close()
            self._lent -= 1
            self._let_go()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The connection that writes, in a transaction that is durable after the block, or undone by an error."""
        with self._at_writer() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")  # a failed commit may have done so
                raise
            self._check()

    def empty_log(self) -> bool:
        """Write the log's pages into the file and cut it to nothing; whether that could be done.

        It cannot while another process reads what they replace.
        """
        with self._at_writer() as connection:
            (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def forget_pages(self) -> None:
        """Close those that read, with the pages they remember, and others as soon as they are at rest."""
        with forks.at_work(), self._idle_lock:
            idle, self._idle, self._era = self._idle, [], self._era + 1
            for connection in idle:
                connection.close()

    def close_all(self) -> None:
        """Close those that are at rest; later calls open others."""
        with self._idle_lock:
            idle, self._idle = self._idle, []
            writer, self._writer = self._writer, None
        for connection in (*idle, writer):
            if connection is not None:
                with contextlib.suppress(sqlite3.Error):
                    connection.close()

    def close(self) -> None:
        """Close them for good, after calls that are at work."""
        with forks.at_work(), self._write_lock:
            if self._closed:
                return
            with self._idle_lock:
                self._closed = True
            if not self.was_inherited:
                self.close_all()
                with self._idle_lock:
                    self._let_go()

    def _let_go(self) -> None:
        """Let the file go when it is closed and all connections are."""
        if self._closed and not self._lent and not self._gone and not self._idle:
            self._gone = True
            release(self._identity)

    @contextlib.contextmanager
    def _at_writer(self) -> Iterator[sqlite3.Connection]:
        with forks.at_work(), self._write_lock, self._translated():
            self._check()
            if self._writer is None:
                self._writer = self._connect()
                self._writer.execute("PRAGMA secure_delete = ON")
                self._writer.execute("PRAGMA foreign_keys = ON")
            yield self._writer

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            factory=Connection,
        )
        try:
            for pragma in ("synchronous = FULL", "temp_store = MEMORY", "cache_size = -1024", "trusted_schema = OFF"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_open(self) -> None:
        if self._closed:
            message = f"expected an open gallery, found {self.path} closed"
            raise UsageError(message)

    def _check(self) -> None:
        self._check_open()
        if self.was_inherited:
            for connection in (*self._idle, self._writer):
                keep_for_ever(connection)  # to close it could take the parent's locks
            message = f"expected {self.path} to be opened after the process was forked; open it in each process"
            raise GalleryError(message)
        if identity_of(self.path) != self._identity:
            message = f"expected the gallery that was opened at {self.path}, found none or another; open it again"
            raise GalleryError(message)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise what SQLite says as GalleryError."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter for names in damaged tables of tables
            self._fail(error)

    def _fail(self, error: sqlite3.Error | UnicodeDecodeError) -> NoReturn:
        code = getattr(error, "sqlite_errorcode", None)
        other = f"an error of the disk or the file ({error})"
        found = str(error) if code is None else _MEANINGS.get(code & 0xFF, other)
        message = f"expected a gallery at {self.path} that can be used, found {found}"
        raise GalleryError(message) from error
