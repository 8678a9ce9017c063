"""Verification protocols: files that list pairs of images, said to be of one person or of two, in folds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.toolchain.data.listing import normalized_key, read_lines
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PairList:
    """P pairs of images.

    name: the file's name without its suffix.
    first, second: paths of the images within the source they were checked against.
    same: (P,) bool, whether both are of one person.
    folds: (P,) int64, the fold of each pair.
    """

    name: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.first)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every image of the pairs once, sorted."""
        return tuple(sorted({*self.first, *self.second}))


class _Pair(NamedTuple):
    first: str
    second: str
    same: bool
    fold: int


def read_pairs(file: Path, faces: Path | FaceSource) -> PairList:
    """Read a pairs file; its images are in `faces`, a folder as a rule, and named by their paths within it.

    Either one pair a line, `path <tab> path <tab> same (1 or 0) <tab> fold`, or the format of Labeled Faces in the
    Wild's pairs.txt: a first line `folds <tab> count`, then for each fold `count` lines `name <tab> n <tab> n` and
    `count` lines `name <tab> n <tab> name <tab> n`, n being the number in <name>/<name>_<n in four digits>.jpg.

    Raises InputError, with the line, for anything else, for an image that is not there and for fewer than two folds.
    """
    lines = read_lines(file, "image pairs")
    source = open_source(faces)
    rows = [(number, line.split("\t")) for number, line in enumerate(lines, start=1) if line.strip()]
    header = rows[0][1] if rows else []
    if len(header) == 2 and all(field.strip().isdigit() for field in header):
        pairs = _parse_lfw(file, source, rows[1:], folds=int(header[0]), count=int(header[1]))
    else:
        pairs = [_parse_row(file, source, number, fields) for number, fields in rows]
    folds = np.array([pair.fold for pair in pairs], np.int64)
    if len(np.unique(folds)) < 2:
        message = f"expected pairs in at least two folds in {file}, found {len(pairs)} pairs in {len(set(folds))} folds"
        raise InputError(message)
    return PairList(
        name=file.stem,
        first=tuple(pair.first for pair in pairs),
        second=tuple(pair.second for pair in pairs),
        same=np.array([pair.same for pair in pairs], np.bool_),
        folds=folds,
    )


def _parse_row(file: Path, source: FaceSource, number: int, fields: list[str]) -> _Pair:
    values = [field.strip() for field in fields]
    if len(values) != 4 or values[2] not in ("0", "1") or not values[3].isdecimal():
        raise _unexpected(file, number, "path <tab> path <tab> same (1 or 0) <tab> fold", fields)
    first, second = (normalized_key(value) for value in values[:2])
    for path in (first, second):
        if path not in source:
            raise _not_there(file, number, source, path)
    return _Pair(first, second, values[2] == "1", int(values[3]))


def _parse_lfw(
    file: Path, source: FaceSource, rows: list[tuple[int, list[str]]], *, folds: int, count: int
) -> list[_Pair]:
    if len(rows) != 2 * folds * count:
        message = f"expected {2 * folds * count} pairs in {file} as its first line says, found {len(rows)}"
        raise InputError(message)
    pairs = []
    for place, (number, fields) in enumerate(rows):
        values = [field.strip() for field in fields]
        same = place % (2 * count) < count
        if same and len(values) == 3:
            values = [values[0], values[1], values[0], values[2]]
        if len(values) != 4 or not (values[1].isdecimal() and values[3].isdecimal()):
            expected = "name <tab> n <tab> n" if same else "name <tab> n <tab> name <tab> n"
            raise _unexpected(file, number, expected, fields)
        first, second = (_lfw_path(file, number, source, values[at], int(values[at + 1])) for at in (0, 2))
        pairs.append(_Pair(first, second, same, place // (2 * count)))
    return pairs


def _lfw_path(file: Path, number: int, source: FaceSource, name: str, image: int) -> str:
    stem = f"{name}/{name}_{image:04d}"
    for suffix in IMAGE_SUFFIXES:
        if stem + suffix in source:
            return stem + suffix
    raise _not_there(file, number, source, stem + IMAGE_SUFFIXES[0])


def _unexpected(file: Path, number: int, expected: str, fields: list[str]) -> InputError:
    found = "\t".join(fields)
    return InputError(f"expected `{expected}` in {file}, line {number}, found {found[:200]!r}")


def _not_there(file: Path, number: int, source: FaceSource, path: str) -> InputError:
    return InputError(
        f"expected the path of an image in {source.name} in {file}, line {number}, found {path!r}; "
        "name the folder the paths are relative to (--faces DIR)"
    )
