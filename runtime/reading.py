"""The one reader of files that others wrote: regular files only, of a bounded size, read at once."""

from __future__ import annotations

import codecs
import collections
import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from efq.runtime.errors import EfqError, InputError

if TYPE_CHECKING:
    from efq.runtime.file_kinds import FileKind

TEXT_LIMIT = 256 * 2**20  # a list of a million images has 50 MB

FILE_LIMIT = 2**34  # no network of faces takes more

_FLAGS = ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY")  # a named pipe is opened without waiting for its writer
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def kind_of_mode(mode: int) -> str:
    """What a path leads to that has this `st_mode`, "a named pipe"; empty for a regular file."""
    return "" if stat.S_ISREG(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextlib.contextmanager
def open_regular(
    path: Path, *, limit: int, expected: str, error_class: type[EfqError] = InputError
) -> Iterator[BufferedReader]:
    """Open a regular file of at most `limit` bytes for reading; links are followed.

    `expected` says what should be there ("a CSV file of landmarks"). Raises `error_class` for anything else, without
    waiting for it, and for errors of the disk while the file is read.
    """
    try:
        flags = sum(getattr(os, name, 0) for name in _FLAGS)
        with os.fdopen(os.open(path, os.O_RDONLY | flags), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                _refuse(path, expected, kind_of_mode(status.st_mode), error_class)
            if status.st_size > limit:
                found = f"{status.st_size:,} bytes, more than the {limit:,} that are read"
                _refuse(path, expected, found, error_class)
            yield file
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        found = getattr(error, "strerror", None) or str(error)
        message = f"expected {expected} at {path}, found: {found}"
        raise error_class(message) from error


def read_bytes(path: Path, *, limit: int, expected: str, error_class: type[EfqError] = InputError) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises `error_class` as `open_regular` does."""
    with open_regular(path, limit=limit, expected=expected, error_class=error_class) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        _refuse(path, expected, f"a file that grows beyond {limit:,} bytes", error_class)
    return content


def read_text(path: Path, *, expected: str, limit: int = TEXT_LIMIT, error_class: type[EfqError] = InputError) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises `error_class` as `open_regular` does, and for another encoding or a file that is no text.
    """
    content = read_bytes(path, limit=limit, expected=expected, error_class=error_class)
    return decode_text(content, path, expected=expected, error_class=error_class)


def decode_text(content: bytes, path: Path, *, expected: str, error_class: type[EfqError] = InputError) -> str:
    """The text that `content`, the bytes of `path`, holds in UTF-8. Raises `error_class` as `read_text` does."""
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        kind = _kind_of(content)
        found = kind.sentence if kind else f"byte {error.start} that is no UTF-8; save it as UTF-8"
        if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            found = "text in UTF-16; save it as UTF-8"
        message = f"expected {expected} at {path}, found {found}"
        raise error_class(message) from error
    if "\0" in text:
        kind = _kind_of(content)
        _refuse(path, expected, kind.sentence if kind else "binary data", error_class)
    return text


def read_json(
    path: Path, *, expected: str, limit: int = TEXT_LIMIT, error_class: type[EfqError] = InputError
) -> object:
    """The value in a JSON file. Raises `error_class` as `read_text` does, and for text that is no JSON."""
    text = read_text(path, expected=expected, limit=limit, error_class=error_class)
    return parse_json(text, f"{expected} at {path}", error_class=error_class)


def parse_json(text: str, place: str, *, error_class: type[EfqError] = InputError) -> object:
    """The value that `text` writes in JSON (RFC 8259: no NaN or infinity, no name twice, no half of a character).

    `place` says what was expected where. Raises `error_class` for anything else.
    """
    try:
        value: object = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # an escaped surrogate alone could not be printed
    except (ValueError, RecursionError) as error:
        message = f"expected {place}, found text that is no JSON ({error})"
        raise error_class(message) from error
    return value


def sha256_file(path: Path, *, expected: str, limit: int = FILE_LIMIT, error_class: type[EfqError] = InputError) -> str:
    """The SHA-256 of a regular file of at most `limit` bytes, 64 hexadecimal digits. Raises as `open_regular`."""
    with open_regular(path, limit=limit, expected=expected, error_class=error_class) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _kind_of(content: bytes) -> FileKind | None:
    from efq.runtime.file_kinds import kind_of_bytes  # its formats are for messages alone

    return kind_of_bytes(content)


def _refuse(path: Path, expected: str, found: str, error_class: type[EfqError]) -> NoReturn:
    message = f"expected {expected} at {path}, found {found}"
    raise error_class(message)


def _no_constant(name: str) -> NoReturn:
    message = f"{name} is no number of JSON"
    raise ValueError(message)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((twice, _),) = collections.Counter(name for name, _ in pairs).most_common(1)
        message = f"{twice!r} is there twice"
        raise ValueError(message)
    return found
