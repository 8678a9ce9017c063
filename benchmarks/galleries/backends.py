"""What is measured: a function for each kind of store, which gives a place of no gallery; and the index alone."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType

from efq.benchmarks.galleries.drawn_people import DrawnPeople
from efq.runtime.errors import UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.gallery.stores.open import open_gallery

_LOGGER = logging.getLogger(__name__)

INDEX = "index"
"""The exact scan in memory without a database: rows are drawn again to be scored."""


@contextlib.contextmanager
def _file() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="efq-galleries-") as folder:
        yield str(Path(folder) / "gallery.db")


@contextlib.contextmanager
def _schema() -> Iterator[str]:
    """A schema of its own in the database that EFQ_POSTGRESQL names, dropped at the end."""
    database = os.environ.get("EFQ_POSTGRESQL", "")
    if not database:
        message = "expected the address of a PostgreSQL database in EFQ_POSTGRESQL, postgresql://..., found none"
        raise UsageError(message)
    import psycopg
    from psycopg import sql

    name = f"bench_{secrets.token_hex(4)}"
    try:
        yield f"{database}{'&' if '?' in database else '?'}schema={name}"
    finally:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


HNSW = "postgresql-hnsw"
PLACES: Mapping[str, Callable[[], AbstractContextManager[str]]] = MappingProxyType(
    {"sqlite": _file, "postgresql": _schema, HNSW: _schema}
)


def model_of(people: DrawnPeople) -> EmbeddingModel:
    """The model that they are said to be of."""
    return EmbeddingModel(sha256="0" * 64, name="drawn", embedding_size=people.size)


def fill(place: str, people: DrawnPeople, backend: str) -> None:
    """Enroll all of them, and build the index where the backend has one."""
    record = GalleryRecord(model=model_of(people))
    with open_gallery(place, record.model) as store:
        for start, rows in people.parts():
            numbers = range(start, start + len(rows))
            names = [people.person(number) for number in numbers]
            store.add(Gallery.of(rows, names, [f"{number:08}" for number in numbers], record))
        if backend == HNSW:
            from efq.runtime.gallery.stores.postgresql import indexing
            from efq.runtime.gallery.stores.postgresql.store import PostgresqlStore

            assert isinstance(store, PostgresqlStore)
            indexing.build_index(store)
            cost = indexing.measure_index(store, 200, None)
            indexing.use_index(store)
            exact, by_index = (misses / cost.probes for misses in (cost.exact_misses, cost.index_misses))
            _LOGGER.warning("FNIR %.4f exact, %.4f by the index", exact, by_index)
