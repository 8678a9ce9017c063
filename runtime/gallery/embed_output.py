"""What efq-embed writes: embeddings by path, and a gallery where the folders say who is on each face."""

from __future__ import annotations

import logging
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, UsageError
from efq.runtime.faces.images import MOST_BYTES
from efq.runtime.gallery.gallery import check_names
from efq.runtime.gallery.npz import NAMES, write_arrays
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord
from efq.runtime.reading import sha256_file

_LOGGER = logging.getLogger(__name__)


def is_replaceable(output: Path) -> bool:
    """Whether there is an empty file, or one that an earlier run wrote; False where there is none.

    Raises UsageError for a file of another kind.
    """
    if not os.path.isfile(output):  # noqa: PTH113 (of a Path it may raise)
        return False
    try:
        if output.stat().st_size == 0:
            return True
        with zipfile.ZipFile(output) as archive:
            names = archive.namelist()
        made_here = names[:2] == ["embeddings.npy", "paths.npy"] and {name[:-4] for name in names} <= NAMES
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        made_here = False
    if not made_here:
        message = f"expected a new output, or one of efq-embed to replace, found {output}; choose another name with -o"
        raise UsageError(message)
    return True


def people_of(images: Sequence[Path], paths: Sequence[Path]) -> list[str] | None:
    """Who is on each image: the folder that holds it, where all lie one folder below the only one that was named.

    None where they do not, and, with a warning, for names that no gallery has.
    """
    if len(images) != 1 or not os.path.isdir(images[0]):  # noqa: PTH112 (of a Path it may raise)
        return None
    places = [path.relative_to(images[0]).parts for path in paths]
    if not all(len(place) == 2 for place in places):
        return None
    try:
        check_names(["/".join(place) for place in places], "folders and files of people", len(places))
    except InputError as error:
        _LOGGER.warning("no gallery is written: %s", error)
        return None
    return [place[0] for place in places]


def write_output(
    output: Path,
    embeddings: NDArray[np.float32],
    paths: Sequence[Path],
    model: EmbeddingModel,
    people: Sequence[str] | None,
    *,
    are_crops: bool,
    replace: bool,
) -> None:
    """Write `embeddings` (N, d) of `paths`, a gallery where `people` are known; `are_crops` may be embedded again.

    Raises UsageError where the file cannot be written, InputError for a crop that cannot be read again.
    """
    arrays = {"embeddings": embeddings, "paths": np.array([str(path) for path in paths])}
    if people is not None:
        faces = [f"{person}/{path.name}" for person, path in zip(people, paths, strict=True)]
        arrays |= {"people": np.array(people), "faces": np.array(faces)}
        if are_crops:
            hashes = [sha256_file(path, limit=MOST_BYTES, expected="an image") for path in paths]
            arrays |= {"hashes": np.array(hashes)}
    write_arrays(output, arrays | {"record": np.array(GalleryRecord(model=model).to_json())}, replace=replace)
