"""Verification protocols: files that list pairs of images, said to be of one person or of two, in folds."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.toolchain.data.listing import find_key, not_in_source, read_lines
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource

_NUMBER = re.compile(r"[0-9]{1,9}")
_FEW = 0.1  # of the pairs of a file

_logger = logging.getLogger(__name__)


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
    line: int
    first: str
    second: str
    same: bool
    fold: int


def read_pairs(file: Path, faces: Path | FaceSource) -> PairList:
    """Read a pairs file; its images are in `faces`, a folder as a rule, and named by their paths within it.

    Either one pair a line, `path <tab> path <tab> same (1 or 0) <tab> fold`, or the format of Labeled Faces in the
    Wild's pairs.txt: a first line `folds <tab> count`, then for each fold `count` lines `name <tab> n <tab> n` and
    `count` lines `name <tab> n <tab> name <tab> n`, n being the number in <name>/<name>_<n in four digits>.jpg.

    Raises InputError, with the line, for anything else, for an image that is not there or is paired with itself, for a
    pair said to be both of one person and of two, and for fewer than two folds.
    """
    source = open_source(faces)
    rows = [(number, line.split("\t")) for number, line in read_lines(file, "image pairs")]
    header = " ".join(rows[0][1]).split() if rows else []
    if len(header) == 2 and all(map(_NUMBER.fullmatch, header)):
        named = _parse_lfw(file, source, rows[1:], folds=int(header[0]), count=int(header[1]))
    else:
        named = [_parse_row(file, number, fields) for number, fields in rows]
    pairs = _in_source(file, source, named)
    _check_pairs(file, pairs)
    _check_labels(file, source, pairs)
    return PairList(
        name=file.stem,
        first=tuple(pair.first for pair in pairs),
        second=tuple(pair.second for pair in pairs),
        same=np.array([pair.same for pair in pairs], np.bool_),
        folds=np.array([pair.fold for pair in pairs], np.int64),
    )


def _in_source(file: Path, source: FaceSource, named: Sequence[_Pair]) -> list[_Pair]:
    """The pairs with the keys of `source` that are meant by their paths."""
    keys = {path: find_key(path, source) for pair in named for path in (pair.first, pair.second)}
    unknown = [(pair.line, path) for pair in named for path in (pair.first, pair.second) if keys[path] is None]
    if unknown:
        raise not_in_source(file, source, unknown)
    return [pair._replace(first=keys[pair.first] or "", second=keys[pair.second] or "") for pair in named]


def _check_pairs(file: Path, pairs: Sequence[_Pair]) -> None:
    known: dict[frozenset[str], _Pair] = {}
    repeated = 0
    for pair in pairs:
        if pair.first == pair.second:
            message = f"expected two images in {file}, line {pair.line}, found {pair.first} paired with itself"
            raise InputError(message)
        earlier = known.setdefault(frozenset((pair.first, pair.second)), pair)
        if earlier.same != pair.same:
            message = (
                f"expected each pair in {file} once, found {pair.first} and {pair.second} as one person and as two, in "
                f"lines {earlier.line} and {pair.line}; correct it"
            )
            raise InputError(message)
        repeated += earlier is not pair
    if repeated:
        _logger.warning("%s has %d pairs more than once, and they count as often", file, repeated)
    folds = sorted({pair.fold for pair in pairs})
    if len(folds) < 2:
        message = f"expected pairs in at least two folds in {file}, found {len(pairs)} pairs in {len(folds)} folds"
        raise InputError(message)


def _check_labels(file: Path, source: FaceSource, pairs: Sequence[_Pair]) -> None:
    """A warning where few pairs are said to be what their folders say that they are not.

    Raises InputError where all are. Otherwise the folders may not name the person, and nothing is said.
    """
    together = [source.identity(pair.first) == source.identity(pair.second) for pair in pairs]
    doubted = [pair for pair, one in zip(pairs, together, strict=True) if pair.same != one]
    if len(doubted) == len(pairs) and len(set(together)) > 1:
        message = (
            f"expected 1 for pairs of one person in {file}, found 1 for all pairs in different folders and 0 for those "
            "in the same one: exchange them"
        )
        raise InputError(message)
    if 0 < len(doubted) <= _FEW * len(pairs):
        found = "one person, and of two folders" if doubted[0].same else "two people, and of one folder"
        _logger.warning(
            "%d of %d pairs in %s are not what their folders say, first line %d: of %s",
            len(doubted),
            len(pairs),
            file,
            doubted[0].line,
            found,
        )


def _parse_row(file: Path, number: int, fields: list[str]) -> _Pair:
    same, fold = (field.strip() for field in fields[2:]) if len(fields) == 4 else ("", "")
    if same not in ("0", "1") or not _NUMBER.fullmatch(fold):
        raise _unexpected(file, number, "path <tab> path <tab> same (1 or 0) <tab> fold", fields)
    return _Pair(number, fields[0], fields[1], same == "1", int(fold))


def _parse_lfw(
    file: Path, source: FaceSource, rows: list[tuple[int, list[str]]], *, folds: int, count: int
) -> list[_Pair]:
    if len(rows) != 2 * folds * count:
        message = f"expected {2 * folds * count} pairs in {file} as its first line says, found {len(rows)}"
        raise InputError(message)
    pairs = []
    for place, (number, fields) in enumerate(rows):
        values = [field.strip() for field in fields] if len(fields) > 1 else fields[0].split()
        same = place % (2 * count) < count
        if same and len(values) == 3:
            values = [values[0], values[1], values[0], values[2]]
        if len(values) != 4 or not (_NUMBER.fullmatch(values[1]) and _NUMBER.fullmatch(values[3])):
            expected = "name <tab> n <tab> n" if same else "name <tab> n <tab> name <tab> n"
            raise _unexpected(file, number, expected, fields)
        first, second = (_lfw_path(source, values[at], int(values[at + 1])) for at in (0, 2))
        pairs.append(_Pair(number, first, second, same, place // (2 * count)))
    return pairs


def _lfw_path(source: FaceSource, name: str, image: int) -> str:
    """The path with the first suffix that is there, or else with the first one."""
    paths = [f"{name}/{name}_{image:04d}{suffix}" for suffix in IMAGE_SUFFIXES]
    return next((path for path in paths if find_key(path, source) is not None), paths[0])


def _unexpected(file: Path, number: int, expected: str, fields: list[str]) -> InputError:
    found = "\t".join(fields)
    return InputError(f"expected `{expected}` in {file}, line {number}, found {found[:200]!r}")
