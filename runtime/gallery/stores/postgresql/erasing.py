"""Erasing what was deleted: a deleted row's bytes stay in its page, after VACUUM too, until others are written there.

VACUUM frees the row and has an HNSW index overwrite its copy. Rows of zeros are then inserted until those pages are
full, in a transaction that is rolled back: nobody ever sees them, and the place is overwritten. All rows are of one
length, so that they cover it to the byte.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Set
from typing import Literal

import numpy as np
import psycopg
from psycopg import sql

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.stores.postgresql.connections import Connection, Connections
from efq.runtime.gallery.stores.postgresql.failures import PAGE
from efq.runtime.gallery.stores.postgresql.tables import LARGEST_IN_ROW
from efq.runtime.gallery.stores.postgresql.transactions import roll_back
from efq.runtime.gallery.stores.postgresql.vectors import Vector

_LOGGER = logging.getLogger(__name__)

_PAGE_BYTES = 8192 - 24
_HEADERS = 24 + 8 + 8  # a row's, its key, the vector's
_POINTER = 4  # to a row
_BATCH = 32
_MOST_BYTES = 1 << 28  # of zeros; more means that much of the table is free
_TRIES = 3
_PAUSE = 0.2

Table = Literal["embeddings", "templates"]


def erase(connections: Connections, table: Table, blocks: Set[int] | None, size: int) -> None:
    """Erase what was deleted from those blocks of a table's file, from all for None. Logs a warning if that failed."""
    done = False
    try:
        with connections.erasing:  # one at a time: each would find the pages full of what another one fills in
            for attempt in range(_TRIES):
                time.sleep(_PAUSE * attempt)  # for a page that VACUUM left out as another session was looking at it
                with connections.one() as connection:
                    done = _erase_once(connection, table, blocks, size)
                if done:
                    return
    except (psycopg.Error, GalleryError) as error:  # it is removed, whatever becomes of the bytes
        _LOGGER.debug("erasing failed: %s", type(error).__name__)
    message = "removed, but bytes of it may stay in a file of the table %s until VACUUM FULL by its owner (%s)"
    _LOGGER.warning(message, table, PAGE)


def _erase_once(connection: Connection, table: Table, blocks: Set[int] | None, size: int) -> bool:
    connection.execute("SELECT set_config('statement_timeout', '10min', false)")
    connection.execute("SELECT pg_advisory_lock(%s::regclass::oid::bigint)", (table,))
    try:
        connection.execute(sql.SQL("VACUUM (INDEX_CLEANUP ON) {}").format(sql.Identifier(table)))
        return size <= LARGEST_IN_ROW and _overwrite(connection, table, blocks, size)
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s::regclass::oid::bigint)", (table,))
            connection.execute("SELECT set_config('statement_timeout', '30s', false)")


def _overwrite(connection: Connection, table: Table, blocks: Set[int] | None, size: int) -> bool:
    """Fill the pages up; whether they are."""
    last, missing = _room(connection, table, blocks, size)
    key = -secrets.randbits(62) - 1
    row = Vector(np.zeros(size, np.float32))
    insert = sql.SQL(
        "INSERT INTO {} SELECT %s - number, %s FROM generate_series(1, %s) number"
        " RETURNING (ctid::text::point)[0]::bigint"
    ).format(sql.Identifier(table))
    connection.execute("BEGIN")
    try:
        for start in range(0, _MOST_BYTES // _row_bytes(size), _BATCH):
            if not missing:
                return True
            filled = [found[0] for found in connection.execute(insert, (key - start, row, _BATCH)).fetchall()]
            for block in filled:
                missing[block] = missing.get(block, 0) - 1
            missing = {block: rows for block, rows in missing.items() if rows > 0}
            if min(filled) >= last:
                break  # the file grows: no page has room that the server knows of
        return not missing
    finally:
        roll_back(connection)


def _room(connection: Connection, table: Table, blocks: Set[int] | None, size: int) -> tuple[int, dict[int, int]]:
    """The number of pages, and how many rows more each takes, where it takes any."""
    capacity = _PAGE_BYTES // _row_bytes(size)
    pages = connection.execute("SELECT pg_relation_size(%s::regclass) / 8192", (table,)).fetchone()
    last = pages[0] if pages else 0
    if blocks is None:
        count = sql.SQL("SELECT (ctid::text::point)[0]::bigint, count(*) FROM {} GROUP BY 1")
        there: dict[int, int] = dict(connection.execute(count.format(sql.Identifier(table))).fetchall())
    else:
        there = {}
        part = sql.SQL("SELECT count(*) FROM {} WHERE ctid >= %s::tid AND ctid < %s::tid")
        for block in blocks:
            row = connection.execute(
                part.format(sql.Identifier(table)), (f"({block},0)", f"({block + 1},0)")
            ).fetchone()
            there[block] = row[0] if row else 0
    room = {block: capacity - there.get(block, 0) for block in (range(last) if blocks is None else blocks)}
    return last, {block: rows for block, rows in room.items() if rows > 0 and block < last}


def _row_bytes(size: int) -> int:
    return -(-(_HEADERS + 4 * size) // 8) * 8 + _POINTER
