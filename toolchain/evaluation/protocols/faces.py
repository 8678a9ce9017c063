"""What networks are evaluated on: images of which all pairs are compared, and listed pairs, each image opened once."""

from __future__ import annotations

import dataclasses
import functools
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
from efq.toolchain.data.near_duplicates import near_pairs, stored_hashes
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource
from efq.toolchain.data.summary import describe_set
from efq.toolchain.evaluation.protocols.copies import MOST_ALIKE, check_copies, warn_of_near_pairs
from efq.toolchain.evaluation.protocols.gathering import gather
from efq.toolchain.evaluation.protocols.pairs import PairList
from efq.toolchain.evaluation.protocols.validity import check_labels, check_pairs, count_genuine

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class IndexedPairs:
    """A pairs file; `first` and `second` (P,) are places of the pairs' images in the faces.

    `same` and `folds` (P,) as in the file; `skipped` pairs, with an image that cannot be decoded, two of the same
    pixels, or one photo said to be of two people, are left out. `near`: how many genuine pairs are of one photo,
    compressed anew, resized, cut or mirrored.
    """

    name: str
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64]
    skipped: int
    near: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationFaces:
    """All images of an evaluation.

    compared: (M,) int64, places of the images whose embeddings by two networks are compared. all_pairs: whether all
    pairs of these are compared too; without, only those of `pair_lists` are. duplicates: paths of images left out of
    `compared`: all that show one photo under several identities, all but one of the same pixels within one. near: of
    all pairs of `compared`, genuine ones of one photo in other pixels. identity_level: by which the faces were opened.
    """

    faces: FaceSet
    compared: NDArray[np.int64]
    pair_lists: tuple[IndexedPairs, ...]
    all_pairs: bool = True
    duplicates: tuple[str, ...] = ()
    near: int = 0
    identity_level: IdentityLevel | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """Identity of each compared image, (M,)."""
        return self.faces.labels[self.compared]

    def check(self) -> None:
        """Raise InputError where nothing can be measured on them (`check_labels`, `check_copies`, `check_pairs`).

        They are looked at once: what is a warning is not said again.
        """
        _ = self._sound

    @functools.cached_property
    def _sound(self) -> bool:
        if self.all_pairs:
            check_labels(self.labels)
            check_copies(self.faces, self.compared)
        for pairs in self.pair_lists:
            check_pairs(pairs.name, pairs.first, pairs.second, pairs.same, pairs.folds)
        return True


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
        compared, duplicates, near = np.arange(len(faces)), tuple[str, ...](), 0
        if self.listed:
            compared = np.array([places[path] for path in self.listed if path in places], np.int64)
            compared, duplicates, near = _without_duplicates(faces, compared)
        opened = EvaluationFaces(
            faces=faces,
            compared=compared,
            pair_lists=tuple(_index(pairs, places, faces) for pairs in self.pair_lists),
            all_pairs=bool(self.listed),
            duplicates=duplicates,
            near=near,
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


def _without_duplicates(faces: FaceSet, compared: NDArray[np.int64]) -> tuple[NDArray[np.int64], tuple[str, ...], int]:
    """Those of `compared` to keep, the paths of the others, and how many genuine pairs of one photo are kept."""
    paths = [faces.paths[place] for place in compared]
    hashes = [faces.pixel_hashes[place] for place in compared]
    labels = faces.labels[compared]
    found = check_duplicates(faces.source, paths, hashes, labels, faces.near_groups[compared])
    if len(found.copies):
        _logger.warning(
            "left out: %d copies of other images of the same identity (%s, ...), of which the cosine is always 1",
            len(found.copies),
            paths[found.copies[0]],
        )
    left_out = np.union1d(found.contradictory, found.copies)
    near = found.near_pairs
    if near:
        first = paths[found.near_copies[0]]
        warn_of_near_pairs(faces.source, near, count_genuine(np.delete(labels, left_out)), first)
    return np.delete(compared, left_out), tuple(paths[place] for place in left_out), near


def _index(pairs: PairList, places: Mapping[str, int], faces: FaceSet) -> IndexedPairs:
    first, second = ([places.get(path, -1) for path in paths] for paths in (pairs.first, pairs.second))
    ends = np.array([first, second], np.int64)
    readable = (ends >= 0).all(axis=0)
    hashes = np.array(faces.pixel_hashes)
    identical = readable & (hashes[ends[0]] == hashes[ends[1]])
    near = readable & ~identical & near_pairs(faces.near_hashes[ends[0]], stored_hashes(faces.near_hashes)[ends[1]])
    _leave_out(pairs, identical, "of the same pixels")
    _leave_out(pairs, near & ~pairs.same, "of one photo, said to be of two people,")
    easy = np.flatnonzero(near & pairs.same)
    kept = readable & ~identical & ~(near & ~pairs.same)
    if len(easy):
        warn_of_near_pairs(pairs.name, len(easy), int(pairs.same[kept].sum()), pairs.first[easy[0]])
    return IndexedPairs(
        name=pairs.name,
        first=ends[0, kept],
        second=ends[1, kept],
        same=pairs.same[kept],
        folds=pairs.folds[kept],
        skipped=int((~kept).sum()),
        near=len(easy),
    )


def _leave_out(pairs: PairList, chosen: NDArray[np.bool_], described: str) -> None:
    """A warning for pairs of two files that tell nothing, or a lie. Raises InputError for many."""
    count = int(chosen.sum())
    if not count:
        return
    place = int(np.flatnonzero(chosen)[0])
    found = f"{count} pairs of {pairs.name} {described} ({pairs.first[place]} and {pairs.second[place]})"
    if count > MOST_ALIKE * len(pairs):
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
