"""Read protocol buffers without a schema compiler, strictly: what a parser might take in two ways is refused.

A message is a sequence of fields, each a key (number * 8 + wire type) and a value
(https://protobuf.dev/programming-guides/encoding/). Nothing is copied: a field's bytes are a view of the message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
REFUSED = -1

_LONGEST_VARINT = 10
_UNENDED = 0x80  # the first byte of a varint that goes on
_MOST_FIELDS = 2**16  # of one message: a graph has 16,000 at most
_MOST_INTEGERS = 1024  # of one field

Value = int | memoryview


class DamagedMessageError(ValueError):
    """Bytes that are no message, or not one of the form asked for."""


class Field(NamedTuple):
    """A field of a message: its wire type, or REFUSED for one to name in the error; once unless `repeated`.

    A repeated VARINT may be packed into BYTES.
    """

    name: str
    wire_type: int
    repeated: bool = False


_UNKNOWN = Field("", REFUSED)


def fields(data: memoryview) -> Iterator[tuple[int, int, Value]]:
    """Number, wire type and value of each field: an int of 64 bits for a VARINT, else the bytes.

    Raises DamagedMessageError for what is no message, or has more fields than any of use.
    """
    place, end, left = 0, len(data), _MOST_FIELDS
    while place < end:
        if not left:
            message = f"more than {_MOST_FIELDS:,} fields in one message"
            raise DamagedMessageError(message)
        left -= 1
        key = data[place]
        place += 1
        if key > 0x7F:
            key, place = _varint(data, place - 1)
        number, wire_type = key >> 3, key & 7
        if not number:
            message = f"a field of number 0 at byte {place}"
            raise DamagedMessageError(message)
        if wire_type == BYTES:
            size = data[place] if place < end else _UNENDED
            place += 1
            if size > 0x7F:
                size, place = _varint(data, place - 1)
        elif wire_type == VARINT:
            value, place = _varint(data, place)
            yield number, wire_type, value
            continue
        elif wire_type in (EIGHT_BYTES, FOUR_BYTES):
            size = 8 if wire_type == EIGHT_BYTES else 4
        else:
            message = f"wire type {wire_type} at byte {place}"
            raise DamagedMessageError(message)
        if size > end - place:
            message = "an end within a field"
            raise DamagedMessageError(message)
        yield number, wire_type, data[place : place + size]
        place += size


def read_message(data: memoryview, kind: str, known: Mapping[int, Field]) -> dict[int, list[Value]]:
    """The values of a message of `kind` by field number, as it may hold `known` fields and nothing else.

    A field that is there twice and not `repeated` is refused: parsers merge the two, or take the last. Raises
    DamagedMessageError.
    """
    found: dict[int, list[Value]] = {}
    for number, wire_type, value in fields(data):
        name, wanted, repeated = known.get(number, _UNKNOWN)
        if wanted == REFUSED:
            message = f"{name or f'field {number}'} in {kind}, which EFQ does not write"
            raise DamagedMessageError(message)
        if wire_type != wanted and not (repeated and wanted == VARINT and wire_type == BYTES):
            message = f"{name} of {kind} in another wire type ({wire_type})"
            raise DamagedMessageError(message)
        if number not in found:
            found[number] = [value]
        elif repeated:
            found[number].append(value)
        else:
            message = f"{name} of {kind} twice"
            raise DamagedMessageError(message)
    return found


def integers(values: list[Value]) -> tuple[int, ...]:
    """A repeated int64, packed or not. Raises DamagedMessageError for more than any attribute or shape has."""
    found: list[int] = []
    for value in values:
        if isinstance(value, int):
            found.append(signed(value))
        place = 0
        while isinstance(value, memoryview) and place < len(value) and len(found) <= _MOST_INTEGERS:
            number, place = _varint(value, place)
            found.append(signed(number))
        if len(found) > _MOST_INTEGERS:
            message = f"more than {_MOST_INTEGERS:,} numbers in one field"
            raise DamagedMessageError(message)
    return tuple(found)


def signed(value: int) -> int:
    """A varint as int64, in two's complement."""
    return value - 2**64 if value >= 2**63 else value


def float32(value: memoryview) -> float:
    """FOUR_BYTES as a float."""
    (number,) = struct.unpack("<f", value)
    return float(number)


def text(value: memoryview) -> str:
    """BYTES as UTF-8."""
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        message = f"text that is no UTF-8 ({error})"
        raise DamagedMessageError(message) from error


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    for byte in data[place : place + _LONGEST_VARINT]:
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            if value >= 2**64:
                break
            return value, place
    message = f"a number that does not end or has more than 64 bits at byte {place}"
    raise DamagedMessageError(message)
