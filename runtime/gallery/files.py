"""The one door to a gallery's file, whatever its form."""

from __future__ import annotations

from pathlib import Path

from efq.runtime.arguments import path_of
from efq.runtime.bulk.folder import is_bulk_folder
from efq.runtime.bulk.gallery import read_gallery_parquet
from efq.runtime.errors import InputError
from efq.runtime.file_kinds import FIRST_BYTES, ZIP, kind_of_bytes
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import read_gallery_npz
from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.gallery.table import read_gallery_table
from efq.runtime.reading import FILE_LIMIT, open_regular

EXPECTED = "a gallery (.npz of efq-embed or efq-migrate, the folder of efq-embed --parquet, CSV or TSV)"


def read_gallery(path: Path | str, *, model: EmbeddingModel | None = None) -> Gallery:
    """Read an .npz, CSV or TSV gallery, known by its first bytes, or the folder of efq-embed --parquet.

    `model` is whose embeddings a table holds, None where that is not known; of a gallery that says another, an error.

    Raises InputError for a file that is no gallery, or of another model than `model`; SchemaError for its record.
    """
    path = path_of(path, "a gallery's file")
    if is_bulk_folder(path):
        return _checked(read_gallery_parquet(path), path, model)
    with open_regular(path, limit=FILE_LIMIT, expected=EXPECTED) as file:
        kind = kind_of_bytes(file.read(FIRST_BYTES))
    if kind is ZIP:
        return _checked(read_gallery_npz(path), path, model)
    if kind is not None:
        message = f"expected {EXPECTED} at {path}, found {kind.sentence}"
        raise InputError(message)
    return read_gallery_table(path, model)


def _checked(gallery: Gallery, path: Path, model: EmbeddingModel | None) -> Gallery:
    found = gallery.record.model
    if model is not None and not found.same_as(model):
        message = f"expected a gallery of {model} at {path}, found one of {found}; name the model it is of"
        raise InputError(message)
    return gallery
