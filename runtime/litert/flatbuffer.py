"""Read FlatBuffers without generated code, strictly: every offset within the file, every field a known one.

A table is a place that points back at its vtable, which says where each field lies; a vector is its length and what
follows (https://flatbuffers.dev/internals/). Nothing is copied: bytes and numbers are views of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

REFUSED = "refused"
"""The kind of a field that EFQ does not write, to be named in the error."""

_SCALARS = {"bool": "<B", "i8": "<b", "u8": "<B", "i32": "<i", "u32": "<I", "u64": "<Q"}
_VECTORS = {"bytes": "u1", "i32s": "<i4", "i64s": "<i8", "f32s": "<f4"}
_MOST_TABLES = 2**17  # in all, those that are pointed at again included
_MOST_TEXT = 1000


class DamagedFlatbufferError(ValueError):
    """Bytes that are no FlatBuffer, or not one of the form asked for."""


class Field(NamedTuple):
    """A field of a table: "text", a kind of scalar or vector, "table" or "tables" of `schema`, or REFUSED.

    default: the value where it is absent; None for what has to be there. alignment: of a vector's bytes.
    """

    name: str
    kind: str
    default: Any = None
    schema: Schema | None = None
    alignment: int = 1


class Schema(NamedTuple):
    """A kind of table: its fields by slot."""

    name: str
    fields: Mapping[int, Field]


Record = dict[str, Any]


class FlatbufferReader:
    """Reads tables of `content`; vectors, but for those of bytes, may hold `structure` bytes in all."""

    def __init__(self, content: bytes, *, structure: int) -> None:
        self._content = memoryview(content)
        self._structure = structure
        self._tables = 0

    def root(self, identifier: bytes, schema: Schema) -> Record:
        """The table that the file begins with. Raises DamagedFlatbufferError, as every method."""
        if bytes(self._content[4:8]) != identifier:
            message = f"no {identifier.decode('ascii')} at byte 4"
            raise DamagedFlatbufferError(message)
        return self.table(self._pointed(0), schema)

    def table(self, place: int, schema: Schema) -> Record:
        """Its values by name; a table's type that its own field says is left to the caller."""
        self._tables += 1
        if self._tables > _MOST_TABLES:
            message = f"more than {_MOST_TABLES:,} tables"
            raise DamagedFlatbufferError(message)
        offsets = self._offsets(place, schema)
        found: Record = {}
        for slot, field in schema.fields.items():
            offset = offsets[slot] if slot < len(offsets) else 0
            if field.kind == REFUSED:
                if offset:
                    message = f"{field.name} in {schema.name}, which EFQ does not write"
                    raise DamagedFlatbufferError(message)
            elif offset:
                found[field.name] = self._value(place + offset, field)
            elif field.default is None:
                message = f"{schema.name} without {field.name}"
                raise DamagedFlatbufferError(message)
            else:
                found[field.name] = field.default
        return found

    def place(self, found: Record, name: str) -> int:
        """Of a field of kind "place": a table whose schema another field says."""
        return int(found[name])

    def _offsets(self, place: int, schema: Schema) -> tuple[int, ...]:
        """Where the fields lie behind `place`, by slot; 0 for one that is absent."""
        vtable = place - int(self._scalar(place, "<i"))
        size, extent = self._scalar(vtable, "<H"), self._scalar(vtable + 2, "<H")
        if size < 4 or size % 2 or extent < 4:
            message = f"a table of {schema.name} of a wrong size at byte {place}"
            raise DamagedFlatbufferError(message)
        self._check(vtable, size, 2)
        self._check(place, extent, 4)
        offsets = struct.unpack_from(f"<{size // 2 - 2}H", self._content, vtable + 4)
        unknown = [slot for slot, offset in enumerate(offsets) if offset and slot not in schema.fields]
        if unknown or any(offset >= extent or 0 < offset < 4 for offset in offsets):
            described = f"field {unknown[0]}" if unknown else "a field outside its table"
            message = f"{described} in {schema.name}, which EFQ does not write"
            raise DamagedFlatbufferError(message)
        return offsets

    def _value(self, place: int, field: Field) -> Any:
        if field.kind in _SCALARS:
            value = self._scalar(place, _SCALARS[field.kind])
            if field.kind == "bool" and value > 1:
                message = f"{field.name} that is neither true nor false"
                raise DamagedFlatbufferError(message)
            return value
        target = self._pointed(place)
        if field.kind == "place":
            return target
        if field.kind == "text":
            return self._text(target, field)
        if field.kind in _VECTORS:
            return self._numbers(target, field)
        assert field.schema is not None
        if field.kind == "table":
            return self.table(target, field.schema)
        count = self._count(target, 4)
        self._spend(4 * count)
        return [self.table(self._pointed(target + 4 + 4 * number), field.schema) for number in range(count)]

    def _numbers(self, place: int, field: Field) -> np.ndarray[Any, Any]:
        dtype = np.dtype(_VECTORS[field.kind])
        count = self._count(place, dtype.itemsize)
        if field.kind != "bytes":
            self._spend(count * dtype.itemsize)
        self._check(place + 4, count * dtype.itemsize, max(field.alignment, dtype.itemsize) if count else 1)
        return np.frombuffer(self._content, dtype, count, place + 4) if count else np.empty(0, dtype)

    def _text(self, place: int, field: Field) -> str:
        count = self._count(place, 1)
        self._spend(count)
        try:
            found = str(self._content[place + 4 : place + 4 + count], "utf-8")
        except UnicodeDecodeError as error:
            message = f"{field.name} that is no UTF-8 ({error})"
            raise DamagedFlatbufferError(message) from error
        if count > _MOST_TEXT or self._scalar(place + 4 + count, "<B"):
            message = f"{field.name} of {count:,} bytes, or without an end"
            raise DamagedFlatbufferError(message)
        return found

    def _count(self, place: int, size: int) -> int:
        count = int(self._scalar(place, "<I"))
        self._check(place + 4, count * size, 1)
        return count

    def _pointed(self, place: int) -> int:
        offset = int(self._scalar(place, "<I"))
        if not offset:
            message = f"an offset of 0 at byte {place}"
            raise DamagedFlatbufferError(message)
        return place + offset

    def _scalar(self, place: int, kind: str) -> int:
        size = struct.calcsize(kind)
        self._check(place, size, size)
        (value,) = struct.unpack_from(kind, self._content, place)
        return int(value)

    def _check(self, place: int, size: int, alignment: int) -> None:
        if place < 0 or size > len(self._content) - place or place % alignment:
            message = f"{size:,} bytes at {place:,}, outside the file's {len(self._content):,} or not aligned"
            raise DamagedFlatbufferError(message)

    def _spend(self, size: int) -> None:
        self._structure -= size
        if self._structure < 0:
            message = "more structure than a network of EFQ's has"
            raise DamagedFlatbufferError(message)
