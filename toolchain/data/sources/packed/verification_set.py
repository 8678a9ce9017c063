"""A verification set as a source of faces: its images by their number, and which of them are pairs of one person."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UnreadableImageError
from efq.runtime.file_kinds import FIRST_BYTES, PICKLE, kind_of_bytes
from efq.runtime.reading import FILE_LIMIT, open_regular
from efq.toolchain.data.sources.packed.content import read_content
from efq.toolchain.data.sources.packed.spans import BrokenPickleError, Span
from efq.toolchain.data.sources.packed.values import UnexpectedContentError
from efq.toolchain.data.sources.source import Fingerprint

_EXPECTED = "a verification set (.bin), a pickle of (images, whether each two are of one person)"
_SUFFIX = ".bin"
_OLD_PICKLE = (b"(", b"]")  # protocols 0 and 1 have no header, but begin with a tuple's mark or a list
_ANY_SIZE = 2**60  # to look at the first bytes
_PIECE = 2**20


class PackedPairs(NamedTuple):
    """P pairs by the keys of their images, and `same` (P,) bool, whether both are of one person."""

    first: tuple[str, ...]
    second: tuple[str, ...]
    same: NDArray[np.bool_]


class VerificationSet:
    """The images of a .bin file, "000000.jpg" and so on in its order; it says of pairs, not who is on an image.

    An image that is stored several times is one, under the first of its keys, but for a pair of two equal images. Of
    the file only where each image lies is kept in memory.
    """

    def __init__(self, path: Path) -> None:
        """Raises InputError for a file that is no such set."""
        self._path = path
        with open_regular(path, limit=FILE_LIMIT, expected=_EXPECTED) as file:
            _check_kind(path, file.read(FIRST_BYTES))
            file.seek(0)
            self._status = _status(os.fstat(file.fileno()))
            try:
                images, same = read_content(file, os.fstat(file.fileno()).st_size)
            except (BrokenPickleError, UnexpectedContentError) as error:
                message = f"expected {_EXPECTED} at {path}, found {error}"
                raise InputError(message) from error
            keys = _keys(file, images)
        self.pairs = PackedPairs(tuple(keys[::2]), tuple(keys[1::2]), same)
        self._spans: dict[str, Span] = {}
        for key, span in zip(keys, images, strict=True):
            self._spans.setdefault(key, span)

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    def keys(self) -> tuple[str, ...]:
        """Of every image the number in the file."""
        return tuple(sorted(self._spans))

    def __contains__(self, key: str, /) -> bool:
        return key in self._spans

    def identity(self, key: str) -> str:
        """Not said."""
        return ""

    @functools.cached_property
    def _real_path(self) -> str:
        return os.path.realpath(self._path)

    def fingerprint(self, key: str) -> Fingerprint:
        """The file's place, size and times of change, as they were when it was opened, and the image's place in it."""
        return self._real_path, *self._status, self._spans[key].offset

    def read(self, key: str) -> bytes:
        """The image's bytes. Raises InputError when the file has changed since it was opened."""
        with open_regular(self._path, limit=FILE_LIMIT, expected=_EXPECTED) as file:
            if _status(os.fstat(file.fileno())) != self._status:
                message = f"expected {self._path} as it was when it was opened, found it changed; start again"
                raise InputError(message)
            try:
                return self._spans[key].read(file)
            except BrokenPickleError as error:
                message = f"{key}: expected an image, found {error}"
                raise UnreadableImageError(message) from error


class VerificationSetFormat:
    """One file with the pairs' images in it."""

    name = "bin"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a file with the suffix .bin, or one that begins as a pickle does."""
        if not os.path.isfile(path):  # noqa: PTH113 (of a Path it may raise)
            return False
        if path.suffix.lower() == _SUFFIX:
            return True
        with open_regular(path, limit=_ANY_SIZE, expected=_EXPECTED) as file:
            return kind_of_bytes(file.read(FIRST_BYTES)) is PICKLE

    def open(self, path: Path) -> VerificationSet:
        """The images and pairs in it. Raises InputError when it is something else."""
        return VerificationSet(path)


def _status(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _check_kind(path: Path, start: bytes) -> None:
    kind = kind_of_bytes(start)
    if kind is not PICKLE and not (kind is None and start.startswith(_OLD_PICKLE)):
        message = f"expected {_EXPECTED} at {path}, found {kind.sentence if kind else 'a file of no known format'}"
        raise InputError(message)


def _keys(file: BinaryIO, images: list[Span]) -> list[str]:
    """Of each image the key of the first one with the same bytes; the second of a pair has at least its own."""
    first: dict[bytes, str] = {}
    keys = []
    for number, digest in enumerate(digests := list(_digests(file, images))):
        own = f"{number:06d}.jpg"
        equal_pair = number % 2 == 1 and digest == digests[number - 1]
        keys.append(own if equal_pair else first.setdefault(digest, own))
    return keys


def _digests(file: BinaryIO, images: list[Span]) -> Iterator[bytes]:
    """SHA-256 of each image as it is written; each place of the file is read once."""
    known: dict[int, bytes] = {}
    for span in images:
        if span.offset not in known:
            digest = hashlib.sha256()
            file.seek(span.offset)
            for start in range(0, span.length, _PIECE):
                digest.update(file.read(min(_PIECE, span.length - start)))
            known[span.offset] = digest.digest()
        yield known[span.offset]
