"""Verification protocols: pairs of images, said to be of one person or of two, in folds, and checked."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.toolchain.data.listing import not_in_source
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource
from efq.toolchain.evaluation.protocols.pair_lists.finding import ImageFinder
from efq.toolchain.evaluation.protocols.pair_lists.folds import fill_folds
from efq.toolchain.evaluation.protocols.pair_lists.listed import ListedPair, ListedPairs
from efq.toolchain.evaluation.protocols.pair_lists.registry import open_pairs

_FEW = 0.1  # of the pairs of a file

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PairList:
    """P pairs of images.

    name: of the protocol: as a rule the file's name without its suffix.
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

    def within(self, prefix: str) -> PairList:
        """The same pairs in a source in which their paths begin with `prefix`."""
        first, second = (tuple(prefix + path for path in paths) for paths in (self.first, self.second))
        return dataclasses.replace(self, first=first, second=second)


class _Pair(NamedTuple):
    """As `ListedPair`, with keys of the source."""

    place: str
    first: str
    second: str
    same: bool
    fold: int


def read_pairs(file: Path, faces: Path | FaceSource | None = None) -> PairList:
    """Read a list of pairs, in whatever format `open_pairs` finds it to be.

    Its images are in `faces`, a folder as a rule, and named by their paths within it; a list that brings its images
    (.bin) needs none, and without `faces` the names are relative to the list's own folder. Pairs of a list without
    folds are put into ten, in their order.

    Raises InputError, with the line, for a list that cannot be read, for an image that is not there or is paired with
    itself, for a pair said to be both of one person and of two, and for fewer than two folds.
    """
    listed = open_pairs(file)
    source = listed.faces if listed.faces is not None else open_source(listed.folder if faces is None else faces)
    return check_pairs(listed, source)


def check_pairs(listed: ListedPairs, source: FaceSource) -> PairList:
    """The pairs of a list with the images of `source` that it means. Raises InputError as `read_pairs` does."""
    same = np.array([pair.same for pair in listed.pairs], np.bool_)
    folds = fill_folds(same, [pair.fold for pair in listed.pairs])
    pairs = _in_source(listed.path, source, listed.pairs, folds)
    _check_pairs(listed.path, pairs)
    _check_labels(listed.path, source, pairs)
    return PairList(
        name=listed.name,
        first=tuple(pair.first for pair in pairs),
        second=tuple(pair.second for pair in pairs),
        same=same,
        folds=folds,
    )


def _in_source(file: Path, source: FaceSource, listed: Sequence[ListedPair], folds: NDArray[np.int64]) -> list[_Pair]:
    """The pairs with the keys of `source` that are meant by their names."""
    finder = ImageFinder(file, source)
    found, unknown = list[_Pair](), list[tuple[str, str]]()
    for pair, fold in zip(listed, folds, strict=True):
        first, second = finder.find(pair.first), finder.find(pair.second)
        if first is not None and second is not None:
            found.append(_Pair(pair.place, first, second, pair.same, int(fold)))
        ends = ((pair.first, first), (pair.second, second))
        unknown += [(pair.place, name) for name, key in ends if key is None]
    if unknown:
        raise not_in_source(file, source, unknown)
    finder.log()
    return found


def _check_pairs(file: Path, pairs: Sequence[_Pair]) -> None:
    known: dict[frozenset[str], _Pair] = {}
    for pair in pairs:
        if pair.first == pair.second:
            message = f"expected two images in {file}, {pair.place}, found {pair.first} paired with itself"
            raise InputError(message)
        earlier = known.setdefault(frozenset((pair.first, pair.second)), pair)
        if earlier.same != pair.same:
            message = (
                f"expected each pair in {file} once, found {pair.first} and {pair.second} as one person and as two, in "
                f"{earlier.place} and {pair.place}; correct it"
            )
            raise InputError(message)
    folds = sorted({pair.fold for pair in pairs})
    if len(folds) < 2:
        message = (
            f"expected pairs in at least two folds in {file}, or at least two of each kind without folds, found "
            f"{len(pairs)} pairs in {len(folds)} folds"
        )
        raise InputError(message)


def _check_labels(file: Path, source: FaceSource, pairs: Sequence[_Pair]) -> None:
    """A warning where few pairs are said to be what their folders say that they are not.

    Raises InputError where all are. Otherwise the folders may not name the person, and nothing is said; nor is it of
    images without a folder.
    """
    people = [(source.identity(pair.first), source.identity(pair.second)) for pair in pairs]
    together = [one == other for one, other in people]
    doubted = [pair for pair, one in zip(pairs, together, strict=True) if pair.same != one]
    if len(doubted) == len(pairs) and len(set(together)) > 1:
        message = (
            f"expected 1 for pairs of one person in {file}, found 1 for all pairs in different folders and 0 for those "
            "in the same one: exchange them"
        )
        raise InputError(message)
    if 0 < len(doubted) <= _FEW * len(pairs) and all(one and other for one, other in people):
        found = "one person, and of two folders" if doubted[0].same else "two people, and of one folder"
        _logger.warning(
            "%d of %d pairs in %s are not what their folders say, first %s: of %s",
            len(doubted),
            len(pairs),
            file,
            doubted[0].place,
            found,
        )
