"""Enrolled people as arrays: an embedding, a person and a face's name a row."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.arguments import instance_of
from efq.runtime.errors import InputError
from efq.runtime.gallery.record import GalleryRecord

MOST_FACES = 50_000_000
LONGEST_NAME = 1024
"""Characters of a person's or a face's name."""

SHORTEST = 1e-6
"""Length of an embedding that is none."""

_UNIT = 1e-2  # how far lengths may be off 1 and still be those of rounded unit vectors
_ROUNDING = 1e-5
_BLOCK = 1 << 16  # rows that are looked at at once
_NAME = re.compile(rf"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{{1,{LONGEST_NAME}}}")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Gallery:
    """N enrolled faces of P people.

    embeddings: (N, d) float32, rows of unit length. people: (N,) text, who is on each. faces: (N,) text, each once: a
    face's identifier, as a rule the path of its crop relative to the folder of all crops. hashes: (N,) SHA-256 of each
    crop's file as it was enrolled, empty text where it is not known. record: the model, and the rest.
    Made by `Gallery.of`, which checks all that.
    """

    embeddings: NDArray[np.float32]
    people: NDArray[np.str_]
    faces: NDArray[np.str_]
    hashes: NDArray[np.str_]
    record: GalleryRecord

    def __len__(self) -> int:
        return len(self.people)

    @classmethod
    def of(
        cls,
        embeddings: NDArray[np.floating],
        people: Sequence[str] | NDArray[np.str_],
        faces: Sequence[str] | NDArray[np.str_],
        record: GalleryRecord,
        *,
        hashes: Sequence[str] | NDArray[np.str_] | None = None,
        normalize: bool = False,
    ) -> Self:
        """Check the arrays and take them: float16, float32 or float64 (N, d), N above zero.

        `normalize` divides rows of any length by it; without, lengths that are not 1 to a hundredth are an error, as
        those of rounded unit vectors are.

        Raises InputError for shapes that do not fit, embeddings that are not finite or of length 0, names that are
        empty, too long or hold characters of control, a face that is there twice, and hashes that are none.
        """
        instance_of(record, GalleryRecord, "the record of a gallery, a GalleryRecord")
        unit = unit_rows(embeddings, normalize=normalize)
        count, size = unit.shape
        if size != record.model.embedding_size:
            message = (
                f"expected embeddings of {record.model.embedding_size} values, as the gallery's model "
                f"{record.model.name} has them, found {size}"
            )
            raise InputError(message)
        named = check_names(people, "people", count), check_names(faces, "faces", count)
        known = np.full(count, "") if hashes is None else check_names(hashes, "hashes", count, empty=True)
        _check_hashes(known)
        unique, counts = np.unique(named[1], return_counts=True)
        if len(unique) != count:
            message = (
                f"expected each face once in the gallery, found {str(unique[np.argmax(counts)])!r} {counts.max()} times"
            )
            raise InputError(message)
        return cls(embeddings=unit, people=named[0], faces=named[1], hashes=known, record=record)

    @property
    def person_count(self) -> int:
        """P."""
        return len(np.unique(self.people))

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Gallery:
        """The gallery of some rows only."""
        return dataclasses.replace(
            self,
            embeddings=self.embeddings[rows],
            people=self.people[rows],
            faces=self.faces[rows],
            hashes=self.hashes[rows],
        )


def unit_rows(embeddings: NDArray[np.floating], *, normalize: bool) -> NDArray[np.float32]:
    """(N, d) float32 rows of unit length. Raises InputError as `Gallery.of` does."""
    array = rows_of(embeddings)
    if array.ndim != 2 or array.dtype not in (np.float16, np.float32, np.float64) or not array.size:
        message = f"expected embeddings of shape (N, d), float16, float32 or float64, found {array.shape} {array.dtype}"
        raise InputError(message)
    if len(array) > MOST_FACES:
        message = f"expected at most {MOST_FACES:,} faces in a gallery, found {len(array):,}; split it"
        raise InputError(message)
    lengths = np.concatenate([row_lengths(array[start : start + _BLOCK]) for start in range(0, len(array), _BLOCK)])
    bad = ~(np.isfinite(lengths) & (lengths > SHORTEST))
    if bad.any():
        message = (
            f"expected finite embeddings that are no zeros, found {int(bad.sum())} of {len(array)} that are not, first "
            f"row {int(np.argmax(bad))}"
        )
        raise InputError(message)
    off = np.abs(lengths - 1.0)
    if not normalize and off.max() > _UNIT:
        row = int(np.argmax(off))
        message = f"expected embeddings of unit length, found {lengths[row]:.4g} in row {row}"
        raise InputError(message)
    if array.dtype == np.float32 and off.max() < _ROUNDING:
        return np.ascontiguousarray(array)  # as it was computed, to the bit
    result = np.empty(array.shape, np.float32)
    for start in range(0, len(array), _BLOCK):
        part = slice(start, start + _BLOCK)
        result[part] = array[part].astype(np.float64) / lengths[part, None]
    return result


def rows_of(embeddings: object) -> NDArray[Any]:
    """An array of them, of whatever shape. Raises InputError for rows of several lengths."""
    try:
        return np.asarray(embeddings)
    except (TypeError, ValueError) as error:
        message = f"expected embeddings of shape (N, d), floats, found {type(embeddings).__name__}: {error}"
        raise InputError(message) from error


def row_lengths(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N,) lengths of (N, d) rows, in float64; infinite or no number where they have none."""
    exact = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.sqrt((exact * exact).sum(axis=1)))


def check_names(
    names: Sequence[str] | NDArray[np.str_], what: str, count: int, *, empty: bool = False
) -> NDArray[np.str_]:
    """`count` texts of 1 (0 where `empty`) to `LONGEST_NAME` characters that a terminal shows as they are.

    Raises InputError.
    """
    names = names if isinstance(names, np.ndarray) else _texts(names, what, count)
    array = np.asarray(names, None if len(names) else np.str_)
    if not isinstance(names, np.ndarray) and any(isinstance(name, str) and name.endswith("\0") for name in names):
        message = f"expected {what} that are lines of text, found one that ends with a zero, which arrays would lose"
        raise InputError(message)
    if array.shape != (count,) or array.dtype.kind != "U":
        message = f"expected {count} texts as {what} of the gallery, found {array.shape} of type {array.dtype}"
        raise InputError(message)
    width = array.dtype.itemsize // 4
    if width > LONGEST_NAME:
        message = f"expected {what} of at most {LONGEST_NAME} characters, found {width}"
        raise InputError(message)
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))
    wrong = [_is_no_line(array[start : start + _BLOCK], empty=empty) for start in range(0, count, _BLOCK)]
    rows = np.flatnonzero(np.concatenate(wrong))
    if len(rows):
        message = (
            f"expected {what} that are lines of text, found {len(rows)} of {count} that are empty or hold "
            f"characters of control, first row {rows[0]}"
        )
        raise InputError(message)
    return array


def _texts(names: object, what: str, count: int) -> list[str]:
    """A list of texts only: an array of text would take numbers among them as such."""
    if isinstance(names, Iterable) and not isinstance(names, str | bytes):
        listed = list(names)
        if all(isinstance(name, str) for name in listed):
            return listed
    message = f"expected {count} texts as {what} of the gallery, found {repr(names)[:100]}"
    raise InputError(message)


def is_name(text: str) -> bool:
    """Whether a gallery may hold the text as a name, as `check_names` checks many."""
    return _NAME.fullmatch(text) is not None


def _is_no_line(names: NDArray[np.str_], *, empty: bool) -> NDArray[np.bool_]:
    """(N,) whether a text is empty, where it may not be, or holds what a terminal does not show as it is."""
    width = names.dtype.itemsize // 4
    if not width:
        return np.full(len(names), not empty)
    codes = names.view(np.uint32).reshape(len(names), width)
    filling = np.cumsum(codes[:, ::-1] != 0, axis=1)[:, ::-1] == 0  # zeros at the end are numpy's own
    bad = ((codes < 32) & ~filling) | ((codes >= 127) & (codes < 160)) | (codes > 0x10FFFF)
    bad |= (codes >= 0xD800) & (codes < 0xE000)
    return np.asarray(bad.any(axis=1) | (filling.all(axis=1) & (not empty)))


def _check_hashes(hashes: NDArray[np.str_]) -> None:
    given = hashes[hashes != ""]
    lengths = np.char.str_len(given)
    plain = np.char.strip(np.char.lower(given), "0123456789abcdef") == ""
    if not (plain & (lengths == 64) & (np.char.lower(given) == given)).all():
        message = "expected SHA-256 of 64 hexadecimal digits as hashes of the gallery's crops, found others"
        raise InputError(message)
