"""Enrolled people in one SQLite file: the truth is on disk, an index of bytes in memory says who could be alike."""

from __future__ import annotations

import contextlib
import datetime
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GalleryError, InputError, UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.index.exact import Fetched, exact_search
from efq.runtime.gallery.stores.open import StoreOptions
from efq.runtime.gallery.stores.ranking import mean_template
from efq.runtime.gallery.stores.sqlite import rows
from efq.runtime.gallery.stores.sqlite.connections import Connections
from efq.runtime.gallery.stores.sqlite.follower import Follower
from efq.runtime.gallery.stores.sqlite.place import check_disk, hold, identity_of, make_file
from efq.runtime.gallery.stores.store import TEMPLATES, GalleryStore, Match, Person, StoreSize, Template
from efq.runtime.gallery.stores.thresholds import FmrThresholds

_EXPORTED_AT_ONCE = 1024
_CHECK_SECONDS = 1.0
_STEPS = 10_000  # of SQLite's machine, between two looks at the clock


class SqliteStore(GalleryStore):
    """A file that any number of processes and threads of one machine use at once.

    Each call sees what others enrolled or removed before it. After a fork, parent and child go on with it.
    """

    kind = "sqlite"

    def __init__(
        self, record: GalleryRecord, template: Template, thresholds: FmrThresholds, connections: Connections
    ) -> None:
        super().__init__(record, template, thresholds)
        self._connections = connections
        self._size = record.model.embedding_size
        self._follower = Follower(self._size, template)

    def load(self) -> None:
        """Read and check all of it. Raises GalleryError for a damaged file."""
        with self._connections.reading() as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
            if found != ("ok",):
                message = f"expected a whole gallery at {self._connections.path}, found a damaged one; restore a copy"
                raise GalleryError(message)
            rows.check_people(connection)
            self._follower.load(connection)
        self._connections.empty_log()  # of an erasure that was interrupted, too

    def size(self) -> StoreSize:
        """As `GalleryStore.size`."""
        with self._connections.reading() as connection:
            people, faces = connection.execute(
                "SELECT (SELECT count(*) FROM people), (SELECT count(*) FROM faces)"
            ).fetchone()
        return StoreSize(people=people, faces=faces)

    def _faces_of(self, person: str) -> tuple[str, ...]:
        with self._connections.reading() as connection:
            found = connection.execute(
                "SELECT name FROM faces WHERE person = (SELECT id FROM people WHERE name = ?) ORDER BY name", (person,)
            ).fetchall()
        return tuple(row[0] for row in found)

    def export(self) -> Iterator[Gallery]:
        """As `GalleryStore.export`: parts of 1024 faces."""
        with self._connections.reading() as connection:
            found = connection.execute(
                "SELECT faces.id FROM people JOIN faces ON faces.person = people.id ORDER BY people.name, faces.name"
            ).fetchall()
        ids = np.array([row[0] for row in found], np.int64)
        return self._parts(ids)

    def _parts(self, ids: NDArray[np.int64]) -> Iterator[Gallery]:
        for start in range(0, len(ids), _EXPORTED_AT_ONCE):
            wanted = ids[start : start + _EXPORTED_AT_ONCE]
            with self._connections.reading() as connection:
                part = rows.faces_by_id(connection, np.sort(wanted).tolist(), self._size)
            at = {key: place for place, key in enumerate(part.ids.tolist())}
            order = [at[key] for key in wanted.tolist() if key in at]
            if order:
                people, faces, hashes = (
                    [values[place] for place in order] for values in (part.names, part.faces, part.hashes)
                )
                yield Gallery.of(part.embeddings[order], people, faces, self._record, hashes=hashes)

    def check(self) -> None:
        """As `GalleryStore.check`; also forgets what other processes removed."""
        with self._connections.reading() as connection:
            rows.read_record(connection)
            self._follower.catch_up(connection)
            if _quick_check(connection) is False:
                message = f"expected a whole gallery at {self._connections.path}, found a damaged one; restore a copy"
                raise GalleryError(message)

    def close(self) -> None:
        """As `GalleryStore.close`."""
        self._connections.close()

    def _enroll(self, parts: Sequence[Gallery]) -> None:
        now = datetime.datetime.fromtimestamp(time.time(), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            with self._connections.writing() as connection:
                for part in parts:
                    rows.insert_faces(connection, part, now)
        except GalleryError as error:
            if isinstance(error.__cause__, sqlite3.IntegrityError):
                message = "expected faces that are not enrolled yet, found one that is; remove it, or name the new one"
                raise InputError(message) from None
            raise

    def _remove(self, person: str, face: str | None) -> int:
        with self._connections.writing() as connection:
            identifier = rows.person_id(connection, person)
            removed = 0 if identifier is None else rows.delete_faces(connection, identifier, face)
        if removed:
            with self._connections.reading() as connection:
                self._follower.catch_up(connection)
        emptied = self._connections.empty_log()
        self._connections.forget_pages()
        if not emptied:
            message = (
                f"removed, and found by no search any more; but {self._connections.path}-wal still has the bytes, as "
                "another process reads for long: remove again when it has ended"
            )
            raise GalleryError(message)
        return removed

    def _templates_of(self, person: str) -> NDArray[np.float32] | None:
        with self._connections.reading() as connection:
            identifier = rows.person_id(connection, person)
            if identifier is None:
                return None
            found = rows.faces_by_person(connection, [identifier], self._size)
        if not len(found):
            return None
        return mean_template(found.embeddings)[None] if self._template == "mean" else found.embeddings

    def _search(self, probes: NDArray[np.float32], k: int) -> list[tuple[Match, ...]]:
        def fetch(keys: NDArray[np.int64]) -> Fetched:
            with self._connections.reading() as connection:
                self._follower.catch_up(connection)
                return self._follower.fetch(connection, keys)

        with self._connections.reading() as connection:
            self._follower.catch_up(connection)
        return exact_search(self._follower.index, fetch, probes, k, self._template)

    def _people(self, after: str, limit: int) -> list[Person]:
        with self._connections.reading() as connection:
            found = connection.execute(
                "SELECT name, enrolled, (SELECT count(*) FROM faces WHERE person = people.id) FROM people"
                " WHERE name > ? ORDER BY name LIMIT ?",
                (after, limit),
            ).fetchall()
        return [Person(name=name, faces=count, enrolled=enrolled) for name, enrolled, count in found]


def open_store(options: StoreOptions) -> SqliteStore:
    """Open or make the file that `options.place` names. Raises as `open_gallery` does."""
    path = Path(os.path.abspath(options.place))  # noqa: PTH100 (a link stays one)
    check_disk(path)
    if identity_of(path) is None:
        if not options.create:
            message = f"expected a gallery at {path}, found no file"
            raise UsageError(message)
        make_file(path, rows.record_row(options.record, options.template or "best"))
    identity = hold(path)
    connections = Connections(path, identity)
    with contextlib.ExitStack() as stack:
        stack.callback(connections.close)
        with connections.reading() as connection:
            record, template = rows.read_record(connection)
        store = SqliteStore(record, _template(template, options), options.thresholds, connections)
        record.check_probes(options.model)
        store.load()
        stack.pop_all()
    return store


def _template(found: str, options: StoreOptions) -> Template:
    for template in TEMPLATES:
        if found == template:
            if options.template not in (None, template):
                message = f"expected the template of the gallery, {template}, found {options.template}; name that one"
                raise UsageError(message)
            return template
    message = f"expected a template of {', '.join(TEMPLATES)} in the gallery, found another; update EFQ"
    raise GalleryError(message)


def _quick_check(connection: sqlite3.Connection) -> bool | None:
    """Whether tables are whole, as far as that is told in a second; None where it takes longer."""
    end = time.monotonic() + _CHECK_SECONDS
    connection.set_progress_handler(lambda: time.monotonic() > end, _STEPS)
    try:
        return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
