"""Changes that are made as a whole: whether a COMMIT whose answer was lost took place is found out."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg import errors

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.stores.postgresql.connections import Connection, Connections
from efq.runtime.gallery.stores.postgresql.failures import failure, failures, is_lost

Result = TypeVar("Result")

LONGEST_DOUBT = 30.0
"""Seconds in which a server has to come back for an answer whether a change was made."""

_TRIES = 5  # of a change that another one was in the way of, or whose old connection was dropped
_PAUSE = 0.2


class _InDoubtError(Exception):
    """The connection was lost during COMMIT."""


def change(
    connections: Connections,
    doing: str,
    work: Callable[[Connection], Result],
    happened: Callable[[Connection, Result], bool],
) -> Result:
    """Run `work` in one transaction: what it gives, once that is durable.

    `happened` tells from the tables whether the change is there. It is asked where the connection was lost during
    COMMIT, after a lock that the transaction held is free: by then it is committed, or never will be.

    Raises GalleryError where nothing was changed, or, saying so, where the server did not come back to be asked.
    """
    token = secrets.randbits(63)
    for attempt in range(_TRIES):
        results: list[Result] = []
        try:
            _once(connections, token, work, results, fresh=attempt > 0)
            return results[0]
        except _InDoubtError:
            return _found_out(connections, doing, token, results[0], happened)
        except psycopg.Error as error:
            in_the_way = isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure))
            if attempt + 1 == _TRIES or not (in_the_way or (is_lost(error) and attempt == 0)):
                raise failure(error, connections.address, doing) from None
        time.sleep(_PAUSE * attempt)
    raise AssertionError


def _once(
    connections: Connections,
    token: int,
    work: Callable[[Connection], Result],
    results: list[Result],
    *,
    fresh: bool,
) -> None:
    with connections.one(fresh=fresh) as connection:
        connection.execute("BEGIN")
        try:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (token,))
            results.append(work(connection))
        except BaseException:
            roll_back(connection)
            raise
        try:
            connection.execute("COMMIT")
        except psycopg.Error as error:
            if connection.closed or is_lost(error):
                connection.close()
                raise _InDoubtError from None
            roll_back(connection)
            raise


def roll_back(connection: Connection) -> None:
    """End the transaction; a connection that cannot do that is closed, which ends it too."""
    try:
        connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


def _found_out(
    connections: Connections,
    doing: str,
    token: int,
    result: Result,
    happened: Callable[[Connection, Result], bool],
) -> Result:
    end = time.monotonic() + LONGEST_DOUBT
    while True:
        try:
            with connections.one(fresh=True) as connection, connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (token,))
                if happened(connection, result):
                    return result
            message = (
                f"expected PostgreSQL ({connections.address.shown}) to {doing}, found the connection lost; nothing was "
                "changed: do it again"
            )
            raise GalleryError(message)
        except psycopg.Error as error:
            if time.monotonic() > end:
                with failures(connections.address, f"say whether it did {doing} (that is not known: look)"):
                    raise error from None
        time.sleep(_PAUSE)
