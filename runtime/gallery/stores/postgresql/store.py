"""The store: `GalleryStore` on a few connections to PostgreSQL."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.stores.open import StoreOptions
from efq.runtime.gallery.stores.postgresql import changing
from efq.runtime.gallery.stores.postgresql.address import Address, parse_address
from efq.runtime.gallery.stores.postgresql.changing import Removed, key_of
from efq.runtime.gallery.stores.postgresql.connections import Connection, Connections
from efq.runtime.gallery.stores.postgresql.erasing import erase
from efq.runtime.gallery.stores.postgresql.exporting import exported
from efq.runtime.gallery.stores.postgresql.failures import failures
from efq.runtime.gallery.stores.postgresql.searching import Search, search
from efq.runtime.gallery.stores.postgresql.tables import Described, open_tables, prepare_session, read_record
from efq.runtime.gallery.stores.postgresql.transactions import change
from efq.runtime.gallery.stores.store import GalleryStore, Match, Person, StoreSize
from efq.runtime.gallery.stores.thresholds import FmrThresholds

_LOGGER = logging.getLogger(__name__)


class PostgresqlStore(GalleryStore):
    """People in a schema of a database. Opened by `open_gallery`; any number of processes may use one at a time."""

    kind = "postgresql"

    def __init__(self, connections: Connections, found: Described, thresholds: FmrThresholds) -> None:
        super().__init__(found.record, found.template, thresholds)
        self._connections = connections
        self._how = Search(template=found.template, approximate=found.index != "none")
        if self._how.approximate:
            _LOGGER.warning("this gallery is searched by an approximate index, as efq-index was asked to; it may miss")

    @classmethod
    def open(cls, options: StoreOptions) -> Self:
        """Open or make the gallery of an address. Raises as `open_gallery`."""
        address = parse_address(options.place)
        connections = Connections(address, lambda connection: prepare_session(connection, address.schema))
        try:
            with failures(address, "open the gallery"), connections.one() as connection:
                found = open_tables(connection, address.schema, options)
                if connection.execute("SELECT current_setting('fsync') = 'off'").fetchone() == (True,):
                    _LOGGER.warning("this PostgreSQL runs with fsync off: a crash of its machine loses enrolments")
            return cls(connections, found, options.thresholds)
        except BaseException:
            connections.close()
            raise

    @property
    def address(self) -> Address:
        """Where it is."""
        return self._connections.address

    @property
    def connections(self) -> Connections:
        """Those it uses."""
        return self._connections

    def threshold_of(self, threshold: float | None, fmr: float | None) -> float | None:
        """The cosine of a threshold or an FMR, None for neither. Raises UsageError for both."""
        return self._threshold(threshold, fmr)

    def size(self) -> StoreSize:
        def count(connection: Connection) -> tuple[int, int]:
            row = connection.execute("SELECT (SELECT count(*) FROM people), (SELECT count(*) FROM faces)").fetchone()
            return row if row is not None else (0, 0)

        people, faces = self._connections.read(count, "count people")
        return StoreSize(people=people, faces=faces)

    def _faces_of(self, person: str) -> tuple[str, ...]:
        def read(connection: Connection) -> list[tuple[str]]:
            return connection.execute(
                "SELECT f.name FROM faces f JOIN people p ON p.id = f.person WHERE p.key = %s ORDER BY f.name",
                (key_of(person),),
            ).fetchall()

        return tuple(row[0] for row in self._connections.read(read, "list faces"))

    def export(self) -> Iterator[Gallery]:
        return exported(self._connections, self._record)

    def check(self) -> None:
        found = self._connections.read(read_record, "answer")
        if found.record != self._record or found.template != self._template:
            message = (
                f"expected the gallery that was opened ({self._record.model}), found another in its place; open it"
            )
            raise GalleryError(message)

    def close(self) -> None:
        self._connections.close()

    def _enroll(self, parts: Sequence[Gallery]) -> None:
        enrolment = uuid.uuid4()
        parts = [part for part in parts if len(part)]
        if not parts:
            return
        face = str(parts[0].faces[0])

        def work(connection: Connection) -> None:
            changing.enroll(connection, parts, enrolment, keeps_means=self._template == "mean")

        def happened(connection: Connection, _: None) -> bool:
            return changing.was_enrolled(connection, enrolment, face)

        change(self._connections, "enroll faces", work, happened)

    def _remove(self, person: str, face: str | None) -> int:
        keeps_means = self._template == "mean"

        def work(connection: Connection) -> Removed:
            return changing.remove(connection, person, face, keeps_means=keeps_means)

        removed = change(self._connections, "remove faces", work, changing.were_removed)
        if removed.faces:
            size = self._record.model.embedding_size
            erase(self._connections, "embeddings", removed.blocks, size)
            if keeps_means:
                erase(self._connections, "templates", None, size)
        return len(removed.faces)

    def _templates_of(self, person: str) -> NDArray[np.float32] | None:
        mean = self._template == "mean"

        def read(connection: Connection) -> list[tuple[NDArray[np.float32]]]:
            with connection.cursor(binary=True) as cursor:
                if mean:
                    query = "SELECT t.embedding FROM templates t JOIN people p ON p.id = t.person WHERE p.key = %s"
                    return cursor.execute(query, (key_of(person),)).fetchall()
                return cursor.execute(
                    "SELECT e.embedding FROM embeddings e JOIN faces f ON f.id = e.face"
                    " JOIN people p ON p.id = f.person WHERE p.key = %s ORDER BY f.name",
                    (key_of(person),),
                ).fetchall()

        rows = self._connections.read(read, "read templates")
        return np.stack([row[0] for row in rows]) if rows else None

    def _search(self, probes: NDArray[np.float32], k: int) -> list[tuple[Match, ...]]:
        def read(connection: Connection) -> list[tuple[Match, ...]]:
            return [search(connection, self._how, probe, k) for probe in probes]

        return self._connections.read(read, "search")

    def _people(self, after: str, limit: int) -> list[Person]:
        def read(connection: Connection) -> list[tuple[str, int, str]]:
            return connection.execute(
                "SELECT p.name, count(*), to_char(min(f.enrolled) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')"
                ' FROM (SELECT id, name FROM people WHERE left(name, 512) >= left(%(after)s, 512) COLLATE "C"'
                "       AND name > %(after)s ORDER BY left(name, 512), name LIMIT %(limit)s) p"
                " JOIN faces f ON f.person = p.id GROUP BY p.name ORDER BY p.name",
                {"after": after, "limit": limit},
            ).fetchall()

        rows = self._connections.read(read, "list people")
        return [Person(name=name, faces=faces, enrolled=enrolled) for name, faces, enrolled in rows]
