"""The tables of a gallery, in a schema of their own, and what the gallery says of itself.

record      a row: the layout's version, `GalleryRecord` as JSON, the template, how searches are made
people      who is enrolled; key: SHA-256 of the name, as names may be longer than an index takes
faces       their faces: name, SHA-256 of the crop, the enrolment that brought it
embeddings  a face's embedding: rows of one length, so that one that was erased can be overwritten (`erasing`)
templates   the mean of a person's embeddings, where the template is the mean
"""

from __future__ import annotations

import dataclasses

from psycopg import errors, sql

from efq.runtime.errors import GalleryError, UsageError
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.open import StoreOptions
from efq.runtime.gallery.stores.postgresql.connections import Connection
from efq.runtime.gallery.stores.postgresql.failures import PAGE
from efq.runtime.gallery.stores.postgresql.vectors import register_vector
from efq.runtime.gallery.stores.store import TEMPLATES, Template

LAYOUT = 1
LARGEST_IN_ROW = 1_900
"""Values of an embedding that fits a page of PostgreSQL; larger ones go to its TOAST table."""

_MAKING = 0x65667120  # the advisory lock of who makes a gallery: "efq "
_TABLES = """
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, key bytea NOT NULL UNIQUE, name text COLLATE "C" NOT NULL
);
CREATE INDEX people_by_name ON people ((left(name, 512)));
CREATE TABLE faces (
    id bigint PRIMARY KEY, key bytea NOT NULL UNIQUE, person bigint NOT NULL REFERENCES people,
    name text COLLATE "C" NOT NULL, hash text NOT NULL, enrolment uuid NOT NULL,
    enrolled timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX faces_of_person ON faces (person);
CREATE SEQUENCE face_ids OWNED BY faces.id;
CREATE TABLE embeddings (
    face bigint PRIMARY KEY REFERENCES faces DEFERRABLE INITIALLY DEFERRED, embedding vector({size}) NOT NULL
);
CREATE TABLE templates (
    person bigint PRIMARY KEY REFERENCES people DEFERRABLE INITIALLY DEFERRED, embedding vector({size}) NOT NULL
);
ALTER TABLE embeddings ALTER COLUMN embedding SET STORAGE {storage};
ALTER TABLE templates ALTER COLUMN embedding SET STORAGE {storage};
CREATE TABLE record (
    one boolean PRIMARY KEY DEFAULT true CHECK (one), layout integer NOT NULL, record text NOT NULL,
    template text NOT NULL, index text NOT NULL DEFAULT 'none'
)
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Described:
    """What a gallery in a database says of itself. index: "none" for exact search, or "hnsw"."""

    record: GalleryRecord
    template: Template
    index: str


def prepare_session(connection: Connection, schema: str) -> None:
    """Ready a new connection: the gallery's names, bounds of time, durable commits.

    Raises GalleryError where the database has not the extension.
    """
    connection.execute(
        "SELECT set_config('statement_timeout', '30s', false), set_config('lock_timeout', '10s', false),"
        " set_config('idle_in_transaction_session_timeout', '5min', false),"
        " set_config('client_encoding', 'utf8', false)"
    )
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false)"
        " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
    )
    row = connection.execute(
        "SELECT t.oid, quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace"
        " JOIN pg_type t ON t.typnamespace = n.oid AND t.typname = 'vector' WHERE e.extname = 'vector'"
    ).fetchone()
    if row is None:
        message = (
            "expected a database with the extension pgvector, found one without; as a superuser, run CREATE EXTENSION "
            f"vector in it ({PAGE})"
        )
        raise GalleryError(message)
    register_vector(connection, row[0])
    connection.execute("SELECT set_config('search_path', quote_ident(%s) || ', ' || %s, false)", (schema, row[1]))


def open_tables(connection: Connection, schema: str, options: StoreOptions) -> Described:
    """What is in the schema, or is made there. Raises as `open_gallery`, psycopg.Error."""
    if not _is_made(connection, schema):
        if not options.create:
            message = f"expected a gallery in the schema {schema} of the database, found none; enroll somebody first"
            raise UsageError(message)
        _make(connection, schema, options)
    found = read_record(connection)
    found.record.check_probes(options.model)
    if options.template not in (None, found.template):
        message = f"expected the gallery's template, {found.template!r}, found {options.template!r}"
        raise UsageError(message)
    return found


def read_record(connection: Connection) -> Described:
    """What the gallery says. Raises GalleryError for another version's, SchemaError for a damaged record."""
    try:
        row = connection.execute("SELECT layout, record, template, index FROM record").fetchone()
    except (errors.UndefinedTable, errors.UndefinedColumn):
        row = None
    if row is None or row[0] != LAYOUT or row[2] not in TEMPLATES:
        found = "none" if row is None else f"layout {row[0]}"
        message = (
            f"expected a gallery of layout {LAYOUT}, found {found}; use the version of EFQ that made it, or export it "
            "by that one and import it here"
        )
        raise GalleryError(message)
    return Described(record=GalleryRecord.from_json(row[1]), template=row[2], index=row[3])


def _is_made(connection: Connection, schema: str) -> bool:
    found = connection.execute(
        "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = 'record'",
        (schema,),
    )
    return found.fetchone() is not None


def _make(connection: Connection, schema: str, options: StoreOptions) -> None:
    """Make the tables, unless another process does at the same time."""
    encoding = connection.execute("SHOW server_encoding").fetchone()
    if encoding is None or encoding[0] != "UTF8":
        message = f"expected a database of encoding UTF8, found {encoding and encoding[0]}; create one for the gallery"
        raise GalleryError(message)
    size = options.record.model.embedding_size
    storage = sql.SQL("PLAIN" if size <= LARGEST_IN_ROW else "EXTERNAL")
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        if _is_made(connection, schema):
            return
        if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (schema,)).fetchone():
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL(_TABLES).format(size=sql.Literal(size), storage=storage))
        connection.execute(
            "INSERT INTO record (layout, record, template) VALUES (%s, %s, %s)",
            (LAYOUT, options.record.to_json(), options.template or "best"),
        )
