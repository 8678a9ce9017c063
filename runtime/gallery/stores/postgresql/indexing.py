"""An approximate index (HNSW) as the user's choice, and what it costs on the gallery itself.

A search by an index may miss who is enrolled: a false non-match. Each measured face of a person of two or more is
searched as a probe, without itself: exactly, and by the index.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import LiteralString

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from efq.runtime.errors import InputError, UsageError
from efq.runtime.gallery.stores.postgresql.connections import Connection
from efq.runtime.gallery.stores.postgresql.searching import Search, search
from efq.runtime.gallery.stores.postgresql.store import PostgresqlStore
from efq.runtime.gallery.stores.store import Template

LARGEST_INDEXED = 2_000
"""Values of an embedding that pgvector's HNSW takes."""

_M, _EF_CONSTRUCTION = 16, 128
_INDEXES: tuple[tuple[LiteralString, LiteralString], ...] = (("embeddings", "face"), ("templates", "person"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class IndexCost:
    """Of `probes` searches: how many found no face of their person, or none above the threshold (false negative
    identifications), exactly and by the index; milliseconds of a search (median)."""

    probes: int
    exact_misses: int
    index_misses: int
    exact_time: float
    index_time: float

    @property
    def loss(self) -> float:
        """What the index adds to FNIR, a fraction."""
        return (self.index_misses - self.exact_misses) / self.probes


def build_index(store: PostgresqlStore) -> None:
    """Make the index, which nothing searches by yet; enrolments wait meanwhile. Raises UsageError, GalleryError."""
    size = store.record.model.embedding_size
    if size > LARGEST_INDEXED:
        message = f"expected embeddings of at most {LARGEST_INDEXED:,} values for an index, found {size:,}"
        raise UsageError(message)

    def work(connection: Connection) -> None:
        with connection.transaction():
            connection.execute("SELECT set_config('statement_timeout', '0', true)")
            for table, key in _INDEXES:
                statement = sql.SQL(
                    "CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (embedding vector_ip_ops)"
                    " WITH (m = {}, ef_construction = {}) WHERE {} > 0"
                )
                names = sql.Identifier(f"{table}_hnsw"), sql.Identifier(table)
                numbers = sql.Literal(_M), sql.Literal(_EF_CONSTRUCTION)
                connection.execute(statement.format(*names, *numbers, sql.Identifier(key)))

    store.connections.read(work, "build an index")


def drop_index(store: PostgresqlStore) -> None:
    """Search exactly from the next opening on, and remove the index."""

    def work(connection: Connection) -> None:
        with connection.transaction():
            connection.execute("UPDATE record SET index = 'none'")
            for table, _ in _INDEXES:
                connection.execute(sql.SQL("DROP INDEX IF EXISTS {}").format(sql.Identifier(f"{table}_hnsw")))

    store.connections.read(work, "drop an index")


def use_index(store: PostgresqlStore) -> None:
    """Search by the index from the next opening on."""
    store.connections.read(lambda connection: connection.execute("UPDATE record SET index = 'hnsw'"), "keep a choice")


def measure_index(store: PostgresqlStore, most: int, threshold: float | None) -> IndexCost:
    """Search at most so many faces, drawn by their names' SHA-256. threshold: a cosine; None: whoever is first counts.

    With the template "mean" a probe is part of its person's mean. Raises InputError where no person has two faces.
    """

    def work(connection: Connection) -> IndexCost:
        probes = _probes(connection, most)
        if not probes:
            message = "expected people of two or more faces to measure an index on, found none; enroll more faces"
            raise InputError(message)
        kind: Template = "mean" if store.template == "mean" else "all"
        misses, times = [], []
        for approximate in (False, True):
            how = Search(template=kind, approximate=approximate)
            found = [_is_found(connection, how, *probe, threshold) for probe in probes]
            misses.append(sum(not is_found for is_found, _ in found))
            times.append(statistics.median(seconds for _, seconds in found) * 1e3)
        return IndexCost(
            probes=len(probes),
            exact_misses=misses[0],
            index_misses=misses[1],
            exact_time=times[0],
            index_time=times[1],
        )

    return store.connections.read(work, "measure an index")


def _probes(connection: Connection, most: int) -> list[tuple[str, str, NDArray[np.float32]]]:
    with connection.cursor(binary=True) as cursor:
        cursor.execute(
            "SELECT p.name, f.name, e.embedding FROM faces f JOIN people p ON p.id = f.person"
            " JOIN embeddings e ON e.face = f.id"
            " WHERE EXISTS (SELECT 1 FROM faces g WHERE g.person = f.person AND g.id <> f.id)"
            " ORDER BY f.key LIMIT %s",
            (most,),
        )
        return [(row[0], row[1], row[2]) for row in cursor.fetchall()]


def _is_found(
    connection: Connection, how: Search, person: str, face: str, probe: NDArray[np.float32], threshold: float | None
) -> tuple[bool, float]:
    """Whether the best face but itself is of its person, and how many seconds that took."""
    began = time.perf_counter()
    matches = search(connection, how, probe, 2)
    seconds = time.perf_counter() - began
    others = [match for match in matches if match.face is None or match.face != face]
    best = others[0] if others else None
    is_found = best is not None and best.person == person and (threshold is None or best.similarity > threshold)
    return is_found, seconds
