"""Who is enrolled, and no longer: what one transaction does to the tables."""

from __future__ import annotations

import dataclasses
import hashlib
import uuid
from collections.abc import Sequence

import numpy as np
from psycopg import errors

from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.stores.postgresql.connections import Connection
from efq.runtime.gallery.stores.postgresql.vectors import Vector, copied_rows
from efq.runtime.gallery.stores.ranking import mean_template

_ROWS = 10_000  # that are sent at once
_SECONDS_A_FACE = 0.01


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removed:
    """faces: identifiers of the rows. blocks: of the table's file, in which their embeddings were."""

    faces: tuple[int, ...]
    blocks: frozenset[int]


def key_of(name: str) -> bytes:
    """What a name is looked up by: SHA-256 of its UTF-8."""
    return hashlib.sha256(name.encode()).digest()


def enroll(connection: Connection, parts: Sequence[Gallery], enrolment: uuid.UUID, *, keeps_means: bool) -> None:
    """Add all faces of all parts. Raises InputError where one is enrolled already."""
    total = sum(len(part) for part in parts)
    connection.execute("SELECT set_config('statement_timeout', %s, true)", (f"{30 + total * _SECONDS_A_FACE:.0f}s",))
    touched: set[int] = set()
    for part in parts:
        for start in range(0, len(part), _ROWS):
            rows = part.take(np.arange(start, min(start + _ROWS, len(part))))
            touched |= _add(connection, rows, enrolment)
    if keeps_means:
        for person in sorted(touched):
            keep_mean(connection, person)


def was_enrolled(connection: Connection, enrolment: uuid.UUID, face: str) -> bool:
    """Whether a face of an enrolment is there; with it are all others."""
    found = connection.execute("SELECT enrolment FROM faces WHERE key = %s", (key_of(face),)).fetchone()
    return found is not None and found[0] == enrolment


def remove(connection: Connection, person: str, face: str | None, *, keeps_means: bool) -> Removed:
    """Delete a person or a face of theirs."""
    row = connection.execute("SELECT id FROM people WHERE key = %s FOR UPDATE", (key_of(person),)).fetchone()
    if row is None:
        return Removed(faces=(), blocks=frozenset())
    found = connection.execute(
        "SELECT id FROM faces WHERE person = %s AND (%s::bytea IS NULL OR key = %s)",
        (row[0], face and key_of(face), face and key_of(face)),
    ).fetchall()
    faces = [one[0] for one in found]
    blocks = connection.execute(
        "DELETE FROM embeddings WHERE face = ANY(%s) RETURNING (ctid::text::point)[0]::bigint", (faces,)
    ).fetchall()
    connection.execute("DELETE FROM faces WHERE id = ANY(%s)", (faces,))
    if connection.execute("SELECT 1 FROM faces WHERE person = %s LIMIT 1", (row[0],)).fetchone():
        if faces and keeps_means:
            keep_mean(connection, row[0])
    else:
        connection.execute("DELETE FROM templates WHERE person = %s", (row[0],))
        connection.execute("DELETE FROM people WHERE id = %s", (row[0],))
    return Removed(faces=tuple(faces), blocks=frozenset(block[0] for block in blocks))


def were_removed(connection: Connection, removed: Removed) -> bool:
    """Whether none of the faces is there."""
    left = connection.execute("SELECT 1 FROM faces WHERE id = ANY(%s) LIMIT 1", (list(removed.faces),))
    return left.fetchone() is None


def keep_mean(connection: Connection, person: int) -> None:
    """Make the template of a person who is locked anew, of all their faces in the order of names."""
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT e.embedding FROM embeddings e JOIN faces f ON f.id = e.face WHERE f.person = %s ORDER BY f.name",
            (person,),
        ).fetchall()
    connection.execute(
        "INSERT INTO templates (person, embedding) VALUES (%s, %s)"
        " ON CONFLICT (person) DO UPDATE SET embedding = excluded.embedding",
        (person, Vector(mean_template(np.stack([row[0] for row in rows])))),
    )


def _add(connection: Connection, rows: Gallery, enrolment: uuid.UUID) -> set[int]:
    """Add at most `_ROWS` faces: the people they are of, who stay locked until the transaction ends."""
    names = {key_of(name): name for name in np.unique(rows.people).tolist()}
    keys = sorted(names)  # one order for all, so that no two enrolments wait for each other
    people: dict[bytes, int] = dict(
        connection.execute(
            "INSERT INTO people (key, name) SELECT * FROM unnest(%s::bytea[], %s::text[])"
            " ON CONFLICT (key) DO UPDATE SET key = excluded.key RETURNING key, id",
            (keys, [names[key] for key in keys]),
        ).fetchall()
    )
    numbers = connection.execute("SELECT nextval('face_ids') FROM generate_series(1, %s)", (len(rows),)).fetchall()
    ids = np.array(numbers, np.int64)[:, 0]
    try:
        with connection.cursor().copy(
            "COPY faces (id, key, person, name, hash, enrolment) FROM STDIN (FORMAT BINARY)"
        ) as copy:
            copy.set_types(["int8", "bytea", "int8", "text", "text", "uuid"])
            named = zip(ids.tolist(), rows.people.tolist(), rows.faces.tolist(), rows.hashes.tolist(), strict=True)
            for number, person, face, digest in named:
                copy.write_row((number, key_of(face), people[key_of(person)], face, digest, enrolment))
    except errors.UniqueViolation:
        message = "expected faces that are not enrolled, found one that is; remove it first, or name it anew"
        raise InputError(message) from None
    with connection.cursor().copy("COPY embeddings (face, embedding) FROM STDIN (FORMAT BINARY)") as copy:
        copy.write(copied_rows(ids, rows.embeddings))
    return set(people.values())
