"""A few images at once: read, aligned and embedded."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.bulk.listing.listed import ListedImage
from efq.runtime.bulk.parquet import FaceRow
from efq.runtime.bulk.workers.task import OpenTask
from efq.runtime.errors import InputError, UsageError
from efq.runtime.faces.aligner import SeenLandmarks

_OF_THE_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """What some images gave: rows (N), embeddings (N, d), and those without a face, with the reason.

    seen: what the landmarks of a list show together.
    """

    images: int
    rows: list[FaceRow]
    embeddings: NDArray[np.float32]
    failures: list[tuple[str, str]]
    seen: SeenLandmarks


def embed_part(opened: OpenTask, images: Sequence[ListedImage]) -> Part:
    """Read and embed images. Raises what embedding does, and UsageError where a machine, and no image, is
    why it cannot be read."""
    rows: list[FaceRow] = []
    faces: list[NDArray[np.uint8]] = []
    failures: list[tuple[str, str]] = []
    seen = SeenLandmarks()
    for listed in images:
        try:
            found = opened.read(listed)
        except InputError as error:
            _raise_if_of_the_machine(error)
            failures.append((listed.path, str(error)))
            continue
        rows += found.rows
        faces += found.faces
        if found.seen is not None:
            seen.add_all(found.seen)
    size = opened.embedder.embedding_size
    embeddings = opened.embedder.embed(np.stack(faces)) if faces else np.empty((0, size), np.float32)
    return Part(images=len(images), rows=rows, embeddings=embeddings, failures=failures, seen=seen)


def _raise_if_of_the_machine(error: InputError) -> None:
    """Raise UsageError for what is no image's fault, and would fail all that follow."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _OF_THE_MACHINE:
        message = f"{error}: that is no fault of the image; when it is mended --resume goes on"
        raise UsageError(message) from error
