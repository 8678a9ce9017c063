"""What networks are evaluated on: images of which all pairs are compared, and listed pairs, each image opened once."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.duplicates import check_duplicates
from efq.toolchain.data.faces import FaceSet, face_paths, open_paths
from efq.toolchain.data.identities import IdentityLevel
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource
from efq.toolchain.data.summary import describe_set
from efq.toolchain.evaluation.protocols.gathering import gather
from efq.toolchain.evaluation.protocols.pairs import PairList
from efq.toolchain.evaluation.protocols.validity import check_ends, check_folds, check_labels

_MOST_IDENTICAL = 0.1  # of the pairs of a file

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class IndexedPairs:
    """A pairs file; `first` and `second` (P,) are places of the pairs' images in the faces.

    `same` and `folds` (P,) as in the file; `skipped` pairs, with an image that cannot be decoded or two of the same
    pixels, are left out.
    """

    name: str
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64]
    skipped: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationFaces:
    """All images of an evaluation.

    compared: (M,) int64, places of the images whose embeddings by two networks are compared. all_pairs: whether all
    pairs of these are compared too; without, only those of `pair_lists` are. duplicates: paths of images left out of
    `compared` as their pixels are those of another one: all copies under several identities, all but one within one.
    identity_level: by which the faces were opened.
    """

    faces: FaceSet
    compared: NDArray[np.int64]
    pair_lists: tuple[IndexedPairs, ...]
    all_pairs: bool = True
    duplicates: tuple[str, ...] = ()
    identity_level: IdentityLevel | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Identity of each compared image, (M,)."""
        return self.faces.labels[self.compared]

    def check(self) -> None:
        """Raise InputError where nothing can be measured on them: without genuine or impostor pairs, in any fold.

        So it does for an image that is paired with itself.
        """
        if self.all_pairs:
            check_labels(self.labels)
        for pairs in self.pair_lists:
            check_ends(pairs.name, pairs.first, pairs.second)
            check_folds(pairs.name, pairs.same, pairs.folds)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationProtocol:
    """Images of one source named for an evaluation, and not yet opened.

    listed: paths of those of which all pairs are compared; none when only `pair_lists` are. identity_level: as
    `open_faces` takes it.
    """

    source: FaceSource
    listed: tuple[str, ...]
    pair_lists: tuple[PairList, ...]
    identity_level: IdentityLevel | None = None

    def open(
        self, contract: InputContract, *, resize: bool = False, progress: ShowProgress = no_progress
    ) -> EvaluationFaces:
        """Decode every image once, leave out duplicates and log what is open in one line.

        Raises InputError as `open_paths` and `EvaluationFaces.check` do, and when too many images or pairs of a file
        are duplicates.
        """
        paths = sorted({*self.listed, *(path for pairs in self.pair_lists for path in pairs.paths)})
        faces = open_paths(
            self.source,
            paths,
            identity_level=self.identity_level,
            contract=contract,
            resize=resize,
            progress=progress,
        )
        places = {path: place for place, path in enumerate(faces.paths)}
        compared, duplicates = np.arange(len(faces)), tuple[str, ...]()
        if self.listed:
            compared = np.array([places[path] for path in self.listed if path in places], np.int64)
            compared, duplicates = _without_duplicates(faces, compared)
        opened = EvaluationFaces(
            faces=faces,
            compared=compared,
            pair_lists=tuple(_index(pairs, places, faces.pixel_hashes) for pairs in self.pair_lists),
            all_pairs=bool(self.listed),
            duplicates=duplicates,
            identity_level=self.identity_level,
        )
        _logger.info("%s", _describe(opened))
        opened.check()
        return opened


def read_protocol(
    faces: Path | FaceSource | None,
    *,
    listing: Path | None = None,
    pairs_files: Sequence[Path] = (),
    all_pairs: bool = True,
    identity_level: IdentityLevel | None = None,
) -> EvaluationProtocol:
    """The images of `faces` to evaluate on: all of them or those of a listing, and those of pairs files.

    With `all_pairs` False those of the pairs files alone, of whom folders need not name the person; these may bring
    their images (.bin), and without `faces` name them relative to their own folder. Raises InputError and UsageError as
    `gather` and `face_paths` do.
    """
    given = None if faces is None else open_source(faces)
    source, pair_lists = gather(given, pairs_files, all_pairs=all_pairs)
    listed = tuple(face_paths(given, listing, identity_level)) if all_pairs and given is not None else ()
    return EvaluationProtocol(source=source, listed=listed, pair_lists=pair_lists, identity_level=identity_level)


def open_evaluation_faces(
    faces: Path | FaceSource | None,
    *,
    listing: Path | None = None,
    pairs_files: Sequence[Path] = (),
    contract: InputContract,
    identity_level: IdentityLevel | None = None,
    progress: ShowProgress = no_progress,
) -> EvaluationFaces:
    """Open the images of `faces` (those of a listing, where given) and of pairs files, to compare all pairs and these.

    Without `faces` the pairs of the files alone. Raises InputError for a source without faces, and as `read_protocol`
    and `open_paths` do.
    """
    protocol = read_protocol(
        faces, listing=listing, pairs_files=pairs_files, all_pairs=faces is not None, identity_level=identity_level
    )
    return protocol.open(contract, progress=progress)


def _without_duplicates(faces: FaceSet, compared: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Those of `compared` to keep, and the paths of the others."""
    paths = [faces.paths[place] for place in compared]
    hashes = [faces.pixel_hashes[place] for place in compared]
    found = check_duplicates(faces.source, paths, hashes, faces.labels[compared])
    if len(found.copies):
        _logger.warning(
            "left out: %d copies of other images of the same identity (%s, ...), of which the cosine is always 1",
            len(found.copies),
            paths[found.copies[0]],
        )
    left_out = np.union1d(found.contradictory, found.copies)
    return np.delete(compared, left_out), tuple(paths[place] for place in left_out)


def _index(pairs: PairList, places: Mapping[str, int], pixel_hashes: Sequence[str]) -> IndexedPairs:
    first, second = ([places.get(path, -1) for path in paths] for paths in (pairs.first, pairs.second))
    ends = np.array([first, second], np.int64)
    readable = (ends >= 0).all(axis=0)
    hashes = np.array(pixel_hashes)
    identical = readable & (hashes[ends[0]] == hashes[ends[1]])
    _check_identical(pairs, identical)
    kept = readable & ~identical
    return IndexedPairs(
        name=pairs.name,
        first=ends[0, kept],
        second=ends[1, kept],
        same=pairs.same[kept],
        folds=pairs.folds[kept],
        skipped=int((~kept).sum()),
    )


def _check_identical(pairs: PairList, identical: NDArray[np.bool_]) -> None:
    """A warning for pairs of two files of the same pixels, which tell nothing. Raises InputError for many."""
    count = int(identical.sum())
    if not count:
        return
    place = int(np.flatnonzero(identical)[0])
    found = f"{count} pairs of {pairs.name} of the same pixels ({pairs.first[place]} and {pairs.second[place]})"
    if count > _MOST_IDENTICAL * len(pairs):
        message = f"expected pairs of different images, found {found}, of {len(pairs)} in all; remove them"
        raise InputError(message)
    _logger.warning("left out: %s", found)


def _describe(opened: EvaluationFaces) -> str:
    faces = opened.faces
    if opened.all_pairs:
        described = describe_set(faces.source, opened.labels)
    else:
        described = f"{len(faces):,} faces in {faces.source}"
    pairs = "".join(f", {len(listed.same):,} pairs of {listed.name}" for listed in opened.pair_lists)
    return described + pairs
