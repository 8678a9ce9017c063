"""What networks are evaluated on: images of which all pairs are compared, and listed pairs, each image opened once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.faces import FaceSet, face_paths, open_paths
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource
from efq.toolchain.evaluation.pairs import PairList, read_pairs


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class IndexedPairs:
    """A pairs file; `first` and `second` (P,) are places of the pairs' images in the faces.

    `same` and `folds` (P,) as in the file; `skipped` pairs, with an image that cannot be decoded, are left out.
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
    pairs of these are compared too; without, only those of `pair_lists` are.
    """

    faces: FaceSet
    compared: NDArray[np.int64]
    pair_lists: tuple[IndexedPairs, ...]
    all_pairs: bool = True

    @property
    def labels(self) -> NDArray[np.int64]:
        """Identity of each compared image, (M,)."""
        return self.faces.labels[self.compared]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class EvaluationProtocol:
    """Images of one source named for an evaluation, and not yet opened.

    listed: paths of those of which all pairs are compared; none when only `pair_lists` are.
    """

    source: FaceSource
    listed: tuple[str, ...]
    pair_lists: tuple[PairList, ...]

    def open(
        self, contract: InputContract, *, resize: bool = False, progress: ShowProgress = no_progress
    ) -> EvaluationFaces:
        """Decode every image once. Raises InputError as `open_paths` does."""
        paths = sorted({*self.listed, *(path for pairs in self.pair_lists for path in pairs.paths)})
        faces = open_paths(self.source, paths, contract=contract, resize=resize, progress=progress)
        places = {path: place for place, path in enumerate(faces.paths)}
        chosen = [places[path] for path in self.listed if path in places] if self.listed else range(len(faces))
        return EvaluationFaces(
            faces=faces,
            compared=np.array(chosen, np.int64),
            pair_lists=tuple(_index(pairs, places) for pairs in self.pair_lists),
            all_pairs=bool(self.listed),
        )


def read_protocol(
    faces: Path | FaceSource,
    *,
    listing: Path | None = None,
    pairs_files: Sequence[Path] = (),
    all_pairs: bool = True,
) -> EvaluationProtocol:
    """The images of `faces` to evaluate on: all of them or those of a listing, and those of pairs files.

    With `all_pairs` False those of the pairs files alone. Raises InputError as `read_pairs` and `face_paths` do.
    """
    source = open_source(faces)
    pair_lists = tuple(read_pairs(file, source) for file in pairs_files)
    listed = tuple(face_paths(source, listing)) if all_pairs else ()
    return EvaluationProtocol(source=source, listed=listed, pair_lists=pair_lists)


def open_evaluation_faces(
    faces: Path | FaceSource,
    *,
    listing: Path | None = None,
    pairs_files: Sequence[Path] = (),
    contract: InputContract,
    progress: ShowProgress = no_progress,
) -> EvaluationFaces:
    """Open the images of `faces` (those of a listing, where given) and of pairs files, to compare all pairs and these.

    Raises InputError for a source without faces, and as `read_pairs` and `open_paths` do.
    """
    return read_protocol(faces, listing=listing, pairs_files=pairs_files).open(contract, progress=progress)


def _index(pairs: PairList, places: Mapping[str, int]) -> IndexedPairs:
    first, second = ([places.get(path, -1) for path in paths] for paths in (pairs.first, pairs.second))
    ends = np.array([first, second], np.int64)
    readable = (ends >= 0).all(axis=0)
    return IndexedPairs(
        name=pairs.name,
        first=ends[0, readable],
        second=ends[1, readable],
        same=pairs.same[readable],
        folds=pairs.folds[readable],
        skipped=int((~readable).sum()),
    )
