"""A connection that a signal may close amid a query, so that SQLite takes its write-ahead log away with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import weakref
from typing import Any

from efq.runtime.cleanup import undo_by_every_signal


class Connection(sqlite3.Connection):
    """As sqlite3's, closed when a signal ends the process (`runtime.commands.signals`); a transaction is undone.

    SQLite keeps a connection open as long as one of its cursors has rows to come: they are closed before it.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._process = os.getpid()
        self._cursors: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()
        _open.add(self)

    def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """As sqlite3's."""
        cursor = self.cursor()
        self._cursors.add(cursor)
        return cursor.execute(statement, parameters)

    def abandon(self) -> None:
        """Close it whoever is at work with it; what runs ends at once. Not in the child of a fork."""
        if self._process == os.getpid():
            self.interrupt()
            for cursor in list(self._cursors):
                with contextlib.suppress(sqlite3.Error):
                    cursor.close()
            with contextlib.suppress(sqlite3.Error):
                self.close()


_open: weakref.WeakSet[Connection] = weakref.WeakSet()


def _abandon_all() -> None:
    for connection in list(_open):
        with contextlib.suppress(sqlite3.Error):
            connection.abandon()


undo_by_every_signal(_abandon_all)
