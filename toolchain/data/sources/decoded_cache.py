"""Decoded faces in one file of the cache: pixels, what they are of, and a trailer that tells whether it is whole."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import EfqError
from efq.runtime.reading import open_regular

PATTERN = "faces-*"

_MAGIC = b"EFQFACE3"
_TRAILER = len(_MAGIC) + 8 + 32
_LARGEST_FILE = 1 << 50
_CHUNK = 1 << 24
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodedFaces:
    """`images` (N, H, W, 3) uint8 RGB, and the keys of those that cannot be read, with the reasons.

    Of each image its key, the SHA-256 of its file, and the hash of its pixels (`pixel_hash`).
    """

    keys: list[str]
    hashes: list[str]
    pixel_hashes: list[str]
    unreadable: dict[str, str]
    images: NDArray[np.uint8]


def finish_entry(path: Path, faces: DecodedFaces) -> None:
    """Add to the file of pixels that `faces` were decoded into what `read_entry` checks. Raises OSError."""
    record = {name: getattr(faces, name) for name in ("keys", "hashes", "pixel_hashes", "unreadable")}
    text = json.dumps(record | {"checksum": _checksum(faces.images)}).encode()
    with path.open("ab") as file:
        file.write(text + _MAGIC + len(text).to_bytes(8, "big") + hashlib.sha256(text).digest())


def read_entry(path: Path, keys: Sequence[str], shape: tuple[int, int, int, int]) -> DecodedFaces | None:
    """The faces in `path`, mapped into memory (writing changes the copy in memory), or None.

    None where there is no such file, and where it is not whole or not of these `keys` and this `shape`: every byte is
    read once for that, about half a second for 14,000 faces.
    """
    try:
        record = _read_record(path, int(np.prod(shape)))
    except (EfqError, OSError, ValueError, RecursionError):
        return None
    if record is None or not _fits(record, keys):
        return None
    try:
        images = np.memmap(path, dtype=np.uint8, mode="c", shape=shape)[: len(record["keys"])]
    except (OSError, ValueError):
        return None
    if _checksum(images) != record["checksum"]:
        return None
    names = ("keys", "hashes", "pixel_hashes", "unreadable")
    return DecodedFaces(images=images, **{name: record[name] for name in names})


def _read_record(path: Path, pixels: int) -> Any:
    with open_regular(path, limit=_LARGEST_FILE, expected="decoded faces") as file:
        size = file.seek(0, os.SEEK_END)
        if size < pixels + _TRAILER:
            return None
        file.seek(pixels)
        text, trailer = file.read(size - pixels - _TRAILER), file.read(_TRAILER)
    return (
        json.loads(text) if trailer == _MAGIC + len(text).to_bytes(8, "big") + hashlib.sha256(text).digest() else None
    )


def _fits(record: Any, keys: Sequence[str]) -> bool:
    """Whether a record is of the images `keys`, in this order."""
    if not isinstance(record, dict):
        return False
    unreadable = record.get("unreadable")
    if not isinstance(unreadable, dict):
        return False
    lists = [list(unreadable.values()), *(record.get(name) for name in ("keys", "hashes", "pixel_hashes"))]
    if not all(isinstance(values, list) and all(isinstance(value, str) for value in values) for values in lists):
        return False
    kept = [key for key in keys if key not in unreadable]
    hashes = (record["hashes"], record["pixel_hashes"])
    return kept == record["keys"] and all(
        len(values) == len(kept) and all(map(_HASH.fullmatch, values)) for values in hashes
    )


def _checksum(images: NDArray[np.uint8]) -> int:
    """CRC-32 of the pixels, image by image."""
    found, step = 0, max(_CHUNK // max(images[:1].nbytes, 1), 1)
    for start in range(0, len(images), step):
        found = zlib.crc32(np.ascontiguousarray(images[start : start + step]).data, found)
    return found
