"""All that is enrolled, as it was at one moment, in parts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.postgresql.connections import Connection, Connections
from efq.runtime.gallery.stores.postgresql.failures import failures
from efq.runtime.gallery.stores.postgresql.transactions import roll_back


def exported(connections: Connections, record: GalleryRecord) -> Iterator[Gallery]:
    """Parts in the order of people and faces, of one snapshot. Raises GalleryError."""
    with failures(connections.address, "export the gallery"), connections.one() as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            connection.execute("SELECT set_config('statement_timeout', '0', true)")
            connection.execute("SELECT set_config('idle_in_transaction_session_timeout', '0', true)")
            connection.execute(
                "DECLARE all_faces NO SCROLL CURSOR FOR SELECT f.id, p.name, f.name, f.hash"
                " FROM faces f JOIN people p ON p.id = f.person ORDER BY p.name, f.name"
            )
            while rows := connection.execute("FETCH 4096 FROM all_faces").fetchall():
                yield _part(connection, rows, record)
        finally:
            roll_back(connection)


def _part(connection: Connection, rows: list[tuple[int, str, str, str]], record: GalleryRecord) -> Gallery:
    ids = [row[0] for row in rows]
    with connection.cursor(binary=True) as cursor:
        found: dict[int, NDArray[np.float32]] = dict(
            cursor.execute("SELECT face, embedding FROM embeddings WHERE face = ANY(%s)", (ids,)).fetchall()
        )
    if len(found) != len(ids):
        message = f"expected an embedding for each face, found {len(found)} for {len(ids)}; restore the database"
        raise GalleryError(message)
    embeddings = np.stack([found[number] for number in ids])
    _, people, faces, hashes = zip(*rows, strict=True)
    return Gallery.of(embeddings, people, faces, record, hashes=hashes)
