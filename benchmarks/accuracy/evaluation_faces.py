"""The faces of an accuracy comparison: those of all pairs and those of pairs files, each decoded and embedded once."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.toolchain.data import FaceSet, face_paths, open_paths
from efq.toolchain.evaluation import PairList, read_pairs


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
    """All images of a comparison; `compared` (M,) are the places of those of which all pairs are compared."""

    faces: FaceSet
    compared: NDArray[np.int64]
    pair_lists: tuple[IndexedPairs, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Identity of each compared image, (M,)."""
        return self.faces.labels[self.compared]


def open_evaluation_faces(
    root: Path, *, listing: Path | None = None, pairs_files: Sequence[Path] = (), contract: InputContract
) -> EvaluationFaces:
    """Open the faces under `root` (those of a listing, where given) and the pairs files, whose paths are under `root`.

    Raises InputError for a folder without faces, and as `read_pairs` and `open_paths` do.
    """
    pair_lists = [read_pairs(file, root) for file in pairs_files]
    listed = face_paths(root, listing)
    faces = open_paths(
        root, sorted({*listed, *(path for pairs in pair_lists for path in pairs.paths)}), contract=contract
    )
    places = {path: place for place, path in enumerate(faces.paths)}
    return EvaluationFaces(
        faces=faces,
        compared=np.array([places[path] for path in listed if path in places], np.int64),
        pair_lists=tuple(_index(pairs, places) for pairs in pair_lists),
    )


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
