"""pgvector's type `vector` as arrays of float32: bits are kept, by its binary form."""

from __future__ import annotations

import dataclasses
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import Connection
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format

_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_COPY_TRAILER = struct.pack(">h", -1)


@dataclasses.dataclass(frozen=True, slots=True)
class Vector:
    """An embedding, (d,) float32, as a value in a statement."""

    values: NDArray[np.float32]


class _VectorDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Vector) -> Buffer:
        return struct.pack(">HH", len(obj.values), 0) + obj.values.astype(">f4").tobytes()


class _VectorLoader(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> NDArray[np.float32]:
        return np.frombuffer(data, ">f4", offset=4).astype(np.float32)


def register_vector(connection: Connection[Any], oid: int) -> None:
    """Let a connection send and receive vectors; `oid` is that of the type in its database."""
    connection.adapters.register_dumper(Vector, type("VectorDumper", (_VectorDumper,), {"oid": oid}))
    connection.adapters.register_loader(oid, _VectorLoader)


def copied_rows(keys: NDArray[np.int64], rows: NDArray[np.float32]) -> bytes:
    """The binary COPY of (N,) keys and (N, d) embeddings: int8, vector."""
    size = rows.shape[1]
    lengths = [("fields", ">i2"), ("key_bytes", ">i4"), ("key", ">i8"), ("bytes", ">i4")]
    vector = [("size", ">i2"), ("unused", ">i2"), ("values", ">f4", (size,))]
    table = np.zeros(len(rows), np.dtype([*lengths, *vector]))
    table["fields"], table["key_bytes"], table["bytes"], table["size"] = 2, 8, 4 + 4 * size, size
    table["key"], table["values"] = keys, rows
    return _COPY_HEADER + table.tobytes() + _COPY_TRAILER
