"""Embeddings of image files, all at once: what efq-embed does without --parquet."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.embedder import Embedder
from efq.runtime.errors import InputError, UnreadableImageError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.faces.pixels import check_pixels
from efq.runtime.faces.scan import scan_folder
from efq.runtime.progress import ShowProgress

ReadFace = Callable[[Path], NDArray[np.uint8]]

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EmbeddedFiles:
    """paths (N) and their embeddings (N, d); `skipped` cannot be read, hold no picture or no face."""

    paths: Sequence[Path]
    embeddings: NDArray[np.float32]
    skipped: Sequence[Path]


def expand(images: Sequence[Path], *, skip_unreadable: bool) -> list[Path]:
    """The image files named, those of folders sorted; what is left out of a folder is said.

    Raises InputError for a folder without images, and for one in which something cannot be read unless
    `skip_unreadable`.
    """
    paths: list[Path] = []
    for path in images:
        if not holds(path.is_dir):
            paths.append(path)
            continue
        found = scan_folder(path)
        if found.left_out:
            _logger.info("left out of %s: %s", path, found.left_out)
        if found.not_readable and not skip_unreadable:
            message = (
                f"expected images and folders that can be read in {path}, found {len(found.not_readable)} that cannot, "
                f"first {found.not_readable[0]}; --skip-unreadable goes on without them"
            )
            raise InputError(message)
        if not found.images:
            message = f"expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder {path}, found none"
            raise InputError(message)
        paths += [path / image for image in found.images]
    return paths


def holds(question: Callable[[], bool]) -> bool:
    """The answer of a path about itself, False where it cannot be looked at."""
    try:
        return question()
    except OSError:  # what cannot be looked at is named when it is read or written
        return False


def _with_picture(face: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    """The face, which holds a picture. Raises UnreadableImageError."""
    try:
        check_pixels(face[None], [str(path)])
    except InputError as error:
        raise UnreadableImageError(*error.args) from error
    return face


def embed_files(
    embedder: Embedder,
    paths: Sequence[Path],
    read: ReadFace,
    *,
    batch: int,
    skip_unreadable: bool,
    progress: ShowProgress,
) -> EmbeddedFiles:
    """Embed every file; raises one InputError that names every image that cannot be used."""
    used: list[Path] = []
    skipped: list[Path] = []
    errors: list[InputError] = []
    parts: list[NDArray[np.float32]] = []
    with progress("embedding", len(paths), unit="images") as shown:
        for start in range(0, len(paths), batch):
            batch_paths = paths[start : start + batch]
            faces, failures = _read_batch(batch_paths, read)
            used += [path for path, _ in faces]
            for path, error in failures:
                if skip_unreadable and isinstance(error, UnreadableImageError):
                    _logger.info("skipped: %s", error)
                    skipped.append(path)
                else:
                    errors.append(error)
            if faces and not errors:
                parts.append(embedder.embed(np.stack([face for _, face in faces])))
            shown.advance(len(batch_paths))
    _check_outcome(errors, used, total=len(paths))
    return EmbeddedFiles(paths=used, embeddings=np.concatenate(parts), skipped=skipped)


def _read_batch(
    paths: Sequence[Path], read: ReadFace
) -> tuple[list[tuple[Path, NDArray[np.uint8]]], list[tuple[Path, InputError]]]:
    faces: list[tuple[Path, NDArray[np.uint8]]] = []
    failures: list[tuple[Path, InputError]] = []
    for path in paths:
        try:
            faces.append((path, _with_picture(read(path), path)))
        except InputError as error:
            failures.append((path, error))
    return faces, failures


def _check_outcome(errors: Sequence[InputError], used: Sequence[Path], *, total: int) -> None:
    if errors:
        listed = "\n  ".join(str(error) for error in errors)
        skippable = sum(isinstance(error, UnreadableImageError) for error in errors)
        remedy = f"; --skip-unreadable goes on without {skippable} of these" if skippable else ""
        message = (
            f"expected usable images, found {len(errors)} of {total} that are not (nothing was written{remedy}):\n"
            f"  {listed}"
        )
        raise InputError(message)
    if not used:
        message = f"expected images that can be decoded, found none among {total}"
        raise InputError(message)
