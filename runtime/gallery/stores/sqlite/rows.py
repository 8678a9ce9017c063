"""Rows of the tables, checked as they are read."""

from __future__ import annotations

import dataclasses
import itertools
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.sqlite.schema import checksum

_FACE = (
    "SELECT faces.id, faces.person, people.name, faces.name, faces.sha256, faces.enrolled, faces.slot, faces.checksum,"
    " embeddings.content FROM faces LEFT JOIN people ON people.id = faces.person"
    " LEFT JOIN embeddings ON embeddings.slot = faces.slot"
)
_AT_ONCE = 500  # placeholders of a statement
_CHECKSUM_BYTES = 4
_KEPT_REMOVALS = 100_000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FaceRows:
    """Some faces. ids, people: (n,) int64. embeddings: (n, d)."""

    ids: NDArray[np.int64]
    people: NDArray[np.int64]
    names: Sequence[str]
    faces: Sequence[str]
    hashes: Sequence[str]
    embeddings: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)


def record_row(record: GalleryRecord, template: str) -> tuple[str, str, int]:
    """The values of the one row of `gallery`."""
    text = record.to_json()
    return text, template, checksum(text, template)


def read_record(connection: sqlite3.Connection) -> tuple[GalleryRecord, str]:
    """The gallery's record and template. Raises GalleryError for damaged ones, SchemaError for others' versions."""
    row = connection.execute("SELECT record, template, checksum FROM gallery").fetchone()
    if row is None or checksum(row[0], row[1]) != row[2]:
        _damaged("the gallery's record")
    return GalleryRecord.from_json(row[0]), row[1]


def person_id(connection: sqlite3.Connection, name: str) -> int | None:
    """None for somebody who is not enrolled."""
    row = connection.execute("SELECT id FROM people WHERE name = ?", (name,)).fetchone()
    return None if row is None else int(row[0])


def insert_faces(connection: sqlite3.Connection, part: Gallery, now: str) -> None:
    """Enroll faces, within a transaction. Raises sqlite3.IntegrityError for a name of a face that is there."""
    known: dict[str, int] = {}
    for name in np.unique(part.people).tolist():
        found = person_id(connection, name)
        known[name] = _insert_person(connection, name, now) if found is None else found
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'faces'").fetchone()
    first = 1 + (0 if row is None else int(row[0]))
    slots = _fill_slots(connection, part.embeddings.astype("<f4", copy=False), first)

    def rows() -> Iterator[tuple[object, ...]]:
        texts = zip(part.people.tolist(), part.faces.tolist(), part.hashes.tolist(), slots, strict=True)
        for identifier, (person, face, digest, slot) in enumerate(texts, first):
            values = (identifier, known[person], face, digest, now, slot)
            yield *values, checksum(*values)

    connection.executemany("INSERT INTO faces VALUES (?, ?, ?, ?, ?, ?, ?)", rows())


def _fill_slots(connection: sqlite3.Connection, values: NDArray[np.float32], first: int) -> list[int]:
    """Where each row is kept, of faces numbered from `first` on: free slots first, and new ones at the end."""
    free = connection.execute("SELECT slot FROM free_slots ORDER BY slot LIMIT ?", (len(values),)).fetchall()
    end = connection.execute("SELECT coalesce(max(slot), 0) + 1 FROM embeddings").fetchone()[0]
    slots = [*(row[0] for row in free), *range(end, end + len(values) - len(free))]
    contents = (_content(row, identifier) for identifier, row in enumerate(values, first))
    filled = zip(contents, slots, strict=True)
    connection.executemany("DELETE FROM free_slots WHERE slot = ?", free)
    connection.executemany("UPDATE embeddings SET content = ? WHERE slot = ?", itertools.islice(filled, len(free)))
    connection.executemany("INSERT INTO embeddings (content, slot) VALUES (?, ?)", filled)
    return slots


def _content(row: NDArray[np.float32], identifier: int) -> bytes:
    content = row.tobytes()
    return content + checksum(identifier, content=content).to_bytes(_CHECKSUM_BYTES, "little")


def delete_faces(connection: sqlite3.Connection, person: int, face: str | None) -> int:
    """Delete a person's faces, or one, and the person with the last, within a transaction: the number of faces."""
    chosen, values = ("person = ?", [person]) if face is None else ("person = ? AND name = ?", [person, face])
    found = connection.execute(f"SELECT id, slot FROM faces WHERE {chosen}", values).fetchall()
    slots = [(slot,) for _, slot in found]
    connection.executemany("UPDATE embeddings SET content = zeroblob(length(content)) WHERE slot = ?", slots)
    connection.executemany("INSERT INTO free_slots VALUES (?)", slots)
    connection.executemany("INSERT INTO removals (person, face) VALUES (?, ?)", [(person, row[0]) for row in found])
    connection.execute(f"DELETE FROM faces WHERE {chosen}", values)
    connection.execute(
        "DELETE FROM people WHERE id = ? AND NOT EXISTS (SELECT 1 FROM faces WHERE person = people.id)", (person,)
    )
    connection.execute("DELETE FROM removals WHERE id <= (SELECT max(id) FROM removals) - ?", (_KEPT_REMOVALS,))
    return len(found)


def _insert_person(connection: sqlite3.Connection, name: str, now: str) -> int:
    cursor = connection.execute("INSERT INTO people (name, enrolled, checksum) VALUES (?, ?, 0)", (name, now))
    identifier = cursor.lastrowid
    assert identifier is not None
    values = (checksum(identifier, name, now), identifier)
    connection.execute("UPDATE people SET checksum = ? WHERE id = ?", values)
    return identifier


def check_people(connection: sqlite3.Connection) -> None:
    """Raise GalleryError for a person whose row is damaged, or who has no face."""
    after = 0
    while rows := connection.execute(
        "SELECT id, name, enrolled, checksum, EXISTS (SELECT 1 FROM faces WHERE person = people.id) FROM people"
        " WHERE id > ? ORDER BY id LIMIT 10000",
        (after,),
    ).fetchall():
        for identifier, name, enrolled, found, has_faces in rows:
            if checksum(identifier, name, enrolled) != found or not has_faces:
                _damaged("a person")
        after = rows[-1][0]


def faces_after(connection: sqlite3.Connection, after: int, limit: int, size: int) -> FaceRows:
    """Faces enrolled after that one, in the order of their identifiers."""
    found = connection.execute(f"{_FACE} WHERE faces.id > ? ORDER BY faces.id LIMIT ?", (after, limit)).fetchall()
    return _checked(found, size)


def faces_by_id(connection: sqlite3.Connection, ids: Sequence[int], size: int) -> FaceRows:
    """Those of some ascending identifiers that are there."""
    return _checked(_by_ids(connection, f"{_FACE} WHERE faces.id IN ({{}}) ORDER BY faces.id", ids), size)


def faces_by_person(connection: sqlite3.Connection, people: Sequence[int], size: int) -> FaceRows:
    """All faces of some ascending people: by person, then by the name of the face."""
    condition = "WHERE faces.person IN ({}) ORDER BY faces.person, faces.name"
    return _checked(_by_ids(connection, f"{_FACE} {condition}", people), size)


def _by_ids(connection: sqlite3.Connection, statement: str, ids: Sequence[int]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(ids), _AT_ONCE):
        part = list(ids[start : start + _AT_ONCE])
        found += connection.execute(statement.format(",".join("?" * len(part))), part).fetchall()
    return found


def _checked(found: Iterable[Any], size: int) -> FaceRows:
    rows = list(found)
    bytes_each = 4 * size
    for identifier, person, name, *values, known, content in rows:
        sound = name is not None and isinstance(content, bytes) and len(content) == bytes_each + _CHECKSUM_BYTES
        sound = sound and checksum(identifier, person, *values) == known
        own = content[bytes_each:] if sound else b""
        if not sound or checksum(identifier, content=content[:bytes_each]).to_bytes(_CHECKSUM_BYTES, "little") != own:
            _damaged("a face")
    joined = np.frombuffer(b"".join(row[8] for row in rows), "<f4").reshape(len(rows), size + 1)
    return FaceRows(
        ids=np.array([row[0] for row in rows], np.int64),
        people=np.array([row[1] for row in rows], np.int64),
        names=[row[2] for row in rows],
        faces=[row[3] for row in rows],
        hashes=[row[4] for row in rows],
        embeddings=np.ascontiguousarray(joined[:, :size], np.float32),
    )


def _damaged(what: str) -> NoReturn:
    message = f"expected a gallery as it was written, found {what} that is damaged; restore the file from a copy"
    raise GalleryError(message)
