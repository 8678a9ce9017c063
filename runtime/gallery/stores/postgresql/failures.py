"""What PostgreSQL says went wrong, as EFQ's errors: never with a value, a name or a password in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import psycopg
from psycopg import errors

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.stores.postgresql.address import Address

PAGE = "docs/gallery-servers.md"

_ADVICE: Mapping[type[psycopg.Error], str] = MappingProxyType(
    {
        errors.InsufficientPrivilege: f"give the role the rights that {PAGE} lists",
        errors.ReadOnlySqlTransaction: "this server is a standby, or read-only: name the primary one",
        errors.DiskFull: "free space on the server's disk; nothing was changed",
        errors.OutOfMemory: "give the server more memory; nothing was changed",
        errors.TooManyConnections: "raise max_connections of the server, or run fewer services",
        errors.QueryCanceled: "the statement was cancelled, or took longer than statement_timeout; do it again",
        errors.LockNotAvailable: "another session holds the rows for long; do it again later",
        errors.UndefinedTable: "the gallery was removed from the database meanwhile; open it again",
        errors.AdminShutdown: "the server was stopped; do it again once it is back",
        errors.CrashShutdown: "the server crashed; do it again once it is back",
    }
)


@contextlib.contextmanager
def failures(address: Address, doing: str) -> Iterator[None]:
    """Turn psycopg's errors into a GalleryError. Its own would carry values ("Key (...) exists") into a traceback."""
    try:
        yield
    except psycopg.Error as error:
        raise failure(error, address, doing) from None


def failure(error: psycopg.Error, address: Address, doing: str) -> GalleryError:
    """The error to raise; `doing` follows "to", as in "to search"."""
    found = error.diag.message_primary
    if found is None:
        found = str(error) if isinstance(error, psycopg.OperationalError) else type(error).__name__
    advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), "")
    if not advice:
        advice = "look whether it runs and can be reached" if is_lost(error) else "the server's log may say more"
    state = f" (SQLSTATE {error.sqlstate})" if error.sqlstate else ""
    message = (
        f"expected PostgreSQL ({address.shown}) to {doing}, found: {address.without_password(found)}{state}; {advice}"
    )
    return GalleryError(message)


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is gone, or was not made: what the server did last is not known."""
    if isinstance(error, errors.QueryCanceled) or not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate[:2] in ("08", "57")
