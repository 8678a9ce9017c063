"""The tables of a gallery, and the checksum of each row.

SQLite checks no content. A row's CRC-32 is over all its values, so that a byte that changed on disk is found when the
row is read, and `PRAGMA integrity_check` at opening finds indexes that do not fit their tables.
"""

from __future__ import annotations

import zlib

APPLICATION = 0x45465147  # "EFQG"
SCHEMA_VERSION = 1

STATEMENTS = (
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = OFF",  # as it is written, nobody else knows it
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
    "CREATE TABLE gallery (id INTEGER PRIMARY KEY CHECK (id = 1), record TEXT NOT NULL, template TEXT NOT NULL,"
    " checksum INTEGER NOT NULL) STRICT",
    "CREATE TABLE people (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, enrolled TEXT NOT NULL,"
    " checksum INTEGER NOT NULL) STRICT",
    "CREATE TABLE faces (id INTEGER PRIMARY KEY AUTOINCREMENT, person INTEGER NOT NULL REFERENCES people,"
    " name TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, enrolled TEXT NOT NULL, slot INTEGER NOT NULL UNIQUE,"
    " checksum INTEGER NOT NULL) STRICT",
    "CREATE UNIQUE INDEX faces_of_people ON faces (person, name)",
    "CREATE TABLE embeddings (slot INTEGER PRIMARY KEY, content BLOB NOT NULL) STRICT",
    "CREATE TABLE free_slots (slot INTEGER PRIMARY KEY) STRICT",
    "CREATE TABLE removals (id INTEGER PRIMARY KEY AUTOINCREMENT, person INTEGER NOT NULL, face INTEGER NOT NULL)"
    " STRICT",
    "INSERT INTO gallery VALUES (1, ?, ?, ?)",
    "PRAGMA journal_mode = WAL",  # the last, so that all before it is in the file itself
)
"""Of a new database. Identifiers are never used twice, and rise in the order in which they became durable.

content: d little-endian float32 and their checksum; zeros where the slot is free. Rows of `embeddings` are all of one
size, appended and overwritten in place, and never deleted: where SQLite deletes rows it moves others together, and
leaves copies of these in parts of pages that are not used, which `secure_delete` does not reach.
removals: which faces are no more, for processes that hold them in memory.
"""


def checksum(*values: str | int, content: bytes = b"") -> int:
    """CRC-32 (as in zlib) of values as Python writes them in ASCII, and of bytes after them."""
    return zlib.crc32(content, zlib.crc32(ascii(values).encode()))
