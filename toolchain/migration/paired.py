"""Faces that both models embed, of other people than the gallery's: what a map is fitted and measured on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data import FaceSet, IdentityLevel, open_faces
from efq.toolchain.evaluation import check_unseen, embed_faces
from efq.toolchain.migration.models import OpenModel

LEAST_FACES = 100
"""To fit a map on."""

_REMEDY = "name other faces (--faces, --list): a map measured on faces that a model was fine-tuned on looks too good"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class PairedFaces:
    """Embeddings (N, d) by the old model and (N, e) by the new one of the same faces; people: (N,) who is on each."""

    old: NDArray[np.float32]
    new: NDArray[np.float32]
    people: NDArray[np.int64]


def embed_pairs(
    root: Path,
    old: OpenModel,
    new: OpenModel,
    gallery: Gallery,
    *,
    listing: Path | None = None,
    identity_level: IdentityLevel | None = None,
    progress: ShowProgress = no_progress,
) -> PairedFaces:
    """Open the faces in `root` and embed them with both models.

    Raises InputError for fewer than `LEAST_FACES`, for faces of the gallery, and as `open_faces`; UsageError for faces
    that a model was fine-tuned on.
    """
    faces = open_faces(
        root, listing=listing, contract=new.contract, identity_level=identity_level, cache=False, progress=progress
    )
    if len(faces) < LEAST_FACES:
        message = f"expected {LEAST_FACES} faces or more to fit a map on, found {len(faces)} in {root}"
        raise InputError(message)
    _refuse_enrolled(faces, gallery, root)
    for model in (old, new):
        if model.training is not None:
            training = model.training()
            check_unseen(faces, model.path, training.files, training.pixels, training.near, remedy=_REMEDY)
    same = faces
    if old.contract != new.contract:
        same = open_faces(
            root, listing=listing, contract=old.contract, identity_level=identity_level, cache=False, progress=progress
        )
        if same.paths != faces.paths:
            message = f"expected faces in {root} that both models take, found {len(faces)} and {len(same)}"
            raise InputError(message)
    return PairedFaces(
        old=embed_faces(old.embed, same, title="embedding with the old model", normalize=True, progress=progress),
        new=embed_faces(new.embed, faces, title="embedding with the new model", normalize=True, progress=progress),
        people=faces.labels,
    )


def _refuse_enrolled(faces: FaceSet, gallery: Gallery, root: Path) -> None:
    enrolled = set(faces.hashes) & set(gallery.hashes.tolist())
    if enrolled:
        first = next(path for path, value in zip(faces.paths, faces.hashes, strict=True) if value in enrolled)
        message = (
            f"expected faces of other people than the gallery's in {root}, found {len(enrolled)} of its crops, first "
            f"{first}; a map fitted on the people it is measured for looks too good"
        )
        raise InputError(message)
