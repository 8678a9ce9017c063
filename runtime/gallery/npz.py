"""The gallery's file: an .npz of arrays with names of their own, read without unpickling and in bounded memory.

embeddings   (N, d) float16, float32 or float64
people       (N,) text: who is on each face
faces        (N,) text, each once; left out, the `paths` that efq-embed writes
hashes       (N,) text, optional: SHA-256 of each crop's file
record       text: `GalleryRecord`, JSON
"""

from __future__ import annotations

import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.files import atomic_file
from efq.runtime.gallery.gallery import LONGEST_NAME, MOST_FACES, Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.reading import FILE_LIMIT, open_regular

EXPECTED = "a gallery (.npz of efq-embed or efq-migrate)"
NAMES = frozenset({"embeddings", "people", "faces", "hashes", "paths", "record"})
LONGEST_RECORD = 1 << 20
"""Characters."""

_MEMORY = FILE_LIMIT  # bytes of all arrays together
_LONGEST_HEADER = 4096
_CHUNK = 1 << 24
_OF_A_ZIP = (
    *(zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError, OverflowError),
    *(struct.error, KeyError, IndexError, TypeError, SyntaxError, MemoryError),
    tokenize.TokenError,
)


def read_gallery_npz(path: Path) -> Gallery:
    """Read and check a gallery.

    Raises InputError for a file that is none, is damaged or larger than is read, holds other arrays, or arrays that do
    not fit; SchemaError for its record.
    """
    arrays = read_arrays(path, NAMES, expected=EXPECTED)
    missing = {"embeddings", "people", "record"} - set(arrays)
    if missing or not {"faces", "paths"} & set(arrays):
        found = ", ".join(sorted(arrays)) or "nothing"
        message = (
            f"expected {EXPECTED} at {path}, with embeddings, people, faces and record, found {found}; embed a folder "
            "of one folder per person with efq-embed"
        )
        raise InputError(message)
    try:
        return Gallery.of(
            arrays["embeddings"],
            arrays["people"],
            arrays.get("faces", arrays.get("paths", arrays["people"])),
            GalleryRecord.from_json(text_of(arrays["record"], path)),
            hashes=arrays.get("hashes"),
        )
    except InputError as error:
        message = f"{error} ({path})"
        raise InputError(message) from error


def gallery_arrays(gallery: Gallery) -> dict[str, NDArray[Any]]:
    """What `write_arrays` writes of a gallery."""
    arrays: dict[str, NDArray[Any]] = {
        "embeddings": gallery.embeddings,
        "people": gallery.people,
        "faces": gallery.faces,
        "record": np.array(gallery.record.to_json()),
    }
    return arrays | ({"hashes": gallery.hashes} if (gallery.hashes != "").any() else {})


def write_gallery(path: Path, gallery: Gallery, *, replace: bool = True) -> None:
    """Write it whole; the same gallery gives the same bytes. Raises UsageError as `atomic_file`."""
    write_arrays(path, gallery_arrays(gallery), replace=replace)


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, replace: bool = True) -> None:
    """An .npz of plain arrays in the order given, without dates."""
    with atomic_file(path, replace=replace) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def text_of(array: NDArray[Any], path: Path) -> str:
    """The text that an array of no dimension holds. Raises InputError."""
    if array.shape != () or array.dtype.kind != "U":
        message = f"expected a record of text in {path}, found an array of {array.dtype}, shape {array.shape}"
        raise InputError(message)
    try:
        text = str(array[()])
        text.encode()
    except (ValueError, UnicodeEncodeError) as error:
        message = f"expected a record of text in {path}, found what is none: {error}"
        raise InputError(message) from error
    return text


def read_arrays(path: Path, names: Set[str], *, expected: str) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz whose names are among `names`: numbers and text, never objects.

    Raises InputError for anything else, before memory is taken for it.
    """
    with open_regular(path, limit=FILE_LIMIT, expected=expected) as file:
        try:
            return _arrays(file, names, path, expected)
        except _OF_A_ZIP as error:
            message = f"expected {expected} at {path}, found a damaged one: {error or type(error).__name__}"
            raise InputError(message) from error


def _arrays(file: IO[bytes], names: Set[str], path: Path, expected: str) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    left = _MEMORY
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        found = [entry.filename.removesuffix(".npy") for entry in entries]
        if len(set(found)) < len(found) or not set(found) <= names or not found:
            unknown = sorted(set(found) - names) or sorted(found)
            _refuse(path, expected, f"an archive of {', '.join(map(repr, unknown[:5])) or 'nothing'}")
        for entry, name in zip(entries, found, strict=True):
            with archive.open(entry) as member:
                arrays[name], taken = _array(member, name, left)
            left -= taken
    return arrays


def _array(member: IO[bytes], name: str, left: int) -> tuple[NDArray[Any], int]:
    """One array, and its bytes. Raises ValueError."""
    start = member.read(10)
    if start[:6] != b"\x93NUMPY" or start[6:8] not in (b"\1\0", b"\2\0", b"\3\0"):
        message = f"no array as {name}"
        raise ValueError(message)
    wide = start[6] > 1
    length = int.from_bytes(start[8:10] + (member.read(2) if wide else b""), "little")
    if length > _LONGEST_HEADER:
        message = f"an array's header of {length} bytes as {name}"
        raise ValueError(message)
    header = io.BytesIO(length.to_bytes(4 if wide else 2, "little") + member.read(length))
    read = np.lib.format.read_array_header_2_0 if wide else np.lib.format.read_array_header_1_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shape, fortran, dtype = read(header, max_header_size=_LONGEST_HEADER)
    size = math.prod(shape) * dtype.itemsize
    _check_header(name, shape, dtype)
    if size > left:
        message = f"{name} of {size:,} bytes, more than are read"
        raise ValueError(message)
    content = bytearray()
    while len(content) < size:  # as much as there is, not as the header says
        part = member.read(min(size - len(content), _CHUNK))
        if not part:
            message = f"{name} that ends after {len(content):,} of {size:,} bytes"
            raise ValueError(message)
        content += part
    if member.read(1):
        message = f"more bytes behind {name}"
        raise ValueError(message)
    array = np.frombuffer(content, dtype, count=math.prod(shape)).reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), copy=False), size


def _check_header(name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Raises ValueError for what no array of a gallery is."""
    longest = LONGEST_RECORD if not shape else LONGEST_NAME
    text = dtype.kind == "U" and 0 < dtype.itemsize <= 4 * longest
    numbers = dtype.kind in "fb" and dtype.itemsize <= 8 and dtype.subdtype is None
    fits = len(shape) <= 2 and all(type(side) is int and 0 <= side <= MOST_FACES for side in shape)
    if not fits or not (text or numbers):
        message = f"an array of {dtype}, shape {shape} as {name}"
        raise ValueError(message)


def _refuse(path: Path, expected: str, found: str) -> NoReturn:
    message = f"expected {expected} at {path}, found {found}"
    raise InputError(message)
