"""The one door to a gallery's file, whatever its form."""

from __future__ import annotations

from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.file_kinds import FIRST_BYTES, ZIP, kind_of_bytes
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import read_gallery_npz
from efq.runtime.gallery.record import EmbeddingModel
from efq.runtime.gallery.table import read_gallery_table
from efq.runtime.reading import FILE_LIMIT, open_regular

EXPECTED = "a gallery (.npz of efq-embed or efq-migrate, CSV or TSV)"


def read_gallery(path: Path | str, *, model: EmbeddingModel | None = None) -> Gallery:
    """Read an .npz, CSV or TSV gallery, known by its first bytes.

    `model` is whose embeddings a table holds, None where that is not known; of an .npz that says another, an error.

    Raises InputError for a file that is no gallery, or of another model than `model`; SchemaError for its record.
    """
    path = Path(path)
    with open_regular(path, limit=FILE_LIMIT, expected=EXPECTED) as file:
        kind = kind_of_bytes(file.read(FIRST_BYTES))
    if kind is ZIP:
        gallery = read_gallery_npz(path)
        found = gallery.record.model
        if model is not None and not found.same_as(model):
            message = f"expected a gallery of {model} at {path}, found one of {found}; name the model it is of"
            raise InputError(message)
        return gallery
    if kind is not None:
        message = f"expected {EXPECTED} at {path}, found {kind.sentence}"
        raise InputError(message)
    return read_gallery_table(path, model)
