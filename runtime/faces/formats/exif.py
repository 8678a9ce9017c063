"""Directories of TIFF (revision 6.0, section 2), which EXIF records have, too: how a picture has to be turned."""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping

ORIENTATION = 274
_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_SIZES = {1: 1, 3: 2, 4: 4}
_MOST_VALUES = 1_000_000


def orientation_of(record: bytes) -> int:
    """How the picture is stored, 1 to 8 as in TIFF and EXIF; 1, upright, where the record does not say, or nonsense."""
    order = _ORDERS.get(record[:4])
    try:
        value = read_directory(record, {ORIENTATION})[ORIENTATION][0] if order else 1
    except (IndexError, KeyError, ValueError):
        return 1
    return value if 1 <= value <= 8 else 1


def read_directory(data: bytes, tags: Collection[int]) -> Mapping[int, tuple[int, ...]]:
    """The whole numbers that the first directory has under `tags`, by tag.

    Raises ValueError for a directory that is not whole, and for values that lie outside `data` or are a million.
    """
    order = _ORDERS[data[:4]]
    try:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, start)
        entries = [struct.unpack_from(order + "HHI4s", data, start + 2 + 12 * index) for index in range(count)]
    except struct.error as error:
        raise ValueError(*error.args) from error
    found: dict[int, tuple[int, ...]] = {}
    for tag, kind, values, inline in entries:
        if kind not in _INTEGERS or tag not in tags or tag in found:
            continue
        size = values * _SIZES[kind]
        place = 0 if size <= 4 else int.from_bytes(inline, "little" if order == "<" else "big")
        content = inline[:size] if size <= 4 else data[place : place + size]
        if len(content) < size or values > _MOST_VALUES:
            message = f"{values:,} values of tag {tag} at {place}"
            raise ValueError(message)
        found[tag] = struct.unpack(f"{order}{values}{_INTEGERS[kind]}", content)
    return found
