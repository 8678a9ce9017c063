"""Parquet shards as a gallery, where something says who is on the images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from efq.runtime.bulk.folder import BulkFolder, shard_metadata
from efq.runtime.bulk.parquet import KEY, import_pyarrow
from efq.runtime.bulk.record import BulkRecord
from efq.runtime.errors import InputError
from efq.runtime.gallery.gallery import MOST_FACES, Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.reading import FILE_LIMIT, open_regular

EXPECTED = "a gallery in Parquet files, as efq-embed --parquet writes them of people"

_COLUMNS = ("path", "face", "person", "sha256", "embedding")
_logger = logging.getLogger(__name__)


def read_gallery_parquet(path: Path) -> Gallery:
    """Read and check the folder of a finished run; faces of nobody are left out, and how many is logged.

    Raises InputError for a folder that is none, of an unfinished run or of images of nobody, or with shards that are
    not its own; SchemaError for its manifest, MissingDependencyError without pyarrow.
    """
    folder = BulkFolder(path)
    record = folder.record()
    if record is None or record.outcome is None:
        found = "no manifest.json" if record is None else "an unfinished run; finish it with --resume"
        _refuse(path, found)
    if not record.listing.has_people:
        _refuse(path, "nobody's names: embed a folder of one folder per person, or a list with a column person")
    faces, size = record.outcome.faces, record.model.embedding_size
    if faces > MOST_FACES or faces * size * 4 > FILE_LIMIT:
        _refuse(path, f"{faces:,} faces of {size} values, more than are read")
    shards = [_columns(folder.shard(number), record, number) for number in record.shards]
    columns = {name: np.concatenate([shard[name] for shard in shards]) for name in _COLUMNS}
    kept = columns["person"] != ""
    if not kept.all():
        _logger.info("left out of %s: %d faces of nobody", path, int((~kept).sum()))
    if len(kept) != faces or not kept.any():
        _refuse(path, f"{int(kept.sum())} faces of people, {len(kept)} of all, where it says {faces}")
    names = zip(columns["path"][kept], columns["face"][kept], strict=True)
    root = record.listing.root
    is_crop = not record.listing.has_landmarks and record.options.detector is None
    try:
        return Gallery.of(
            columns["embedding"][kept],
            columns["person"][kept].astype(np.str_),
            np.array(
                [f"{name.removeprefix(root)}#{face}" if face else name.removeprefix(root) for name, face in names]
            ),
            GalleryRecord(model=record.model),
            hashes=columns["sha256"][kept].astype(np.str_) if is_crop else None,
        )
    except InputError as error:
        message = f"{error} ({path})"
        raise InputError(message) from error


def _columns(path: Path, record: BulkRecord, number: int) -> dict[str, NDArray[Any]]:
    """The columns of a shard. Raises InputError for one that is not of this run."""
    arrow = import_pyarrow()
    try:
        with (
            open_regular(path, limit=FILE_LIMIT, expected=EXPECTED) as file,
            arrow.parquet.ParquetFile(file, page_checksum_verification=True) as shard,
        ):
            metadata = shard.metadata.metadata or {}
            rows, size = shard.metadata.num_rows, record.model.embedding_size
            if metadata.get(KEY.encode()) != shard_metadata(record, number).encode() or rows > MOST_FACES:
                _refuse(path, "a shard of another run")
            table = shard.read(columns=[*_COLUMNS[:-1], "embedding"], use_threads=False)
            names = {name: table[name].to_pylist() for name in _COLUMNS[:-1]}
            values = table["embedding"].combine_chunks()
            embeddings = np.asarray(values.values.to_numpy(zero_copy_only=False), np.float32).reshape(rows, size)
    except (arrow.ArrowException, OSError, ValueError, KeyError, AttributeError) as error:
        message = f"expected {EXPECTED} at {path}, found a damaged one: {error}"
        raise InputError(message) from error
    columns: dict[str, NDArray[Any]] = {
        name: np.array([value or "" for value in names[name]], object) for name in ("path", "person", "sha256")
    }
    return columns | {"face": np.array(names["face"], np.int64), "embedding": embeddings}


def _refuse(path: Path, found: str) -> NoReturn:
    message = f"expected {EXPECTED} at {path}, found {found}"
    raise InputError(message)
