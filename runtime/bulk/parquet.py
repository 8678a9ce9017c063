"""Parquet files of embeddings: the columns, a file written row group by row group, and what its footer says."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError, MissingDependencyError
from efq.runtime.files import atomic_file

ROWS = 8192
"""Of a row group: 4 MB of 128 values each, 16 MB of 512."""

KEY = "efq"
"""Of the file's key-value metadata."""


def import_pyarrow() -> Any:
    """`pyarrow`, with `pyarrow.parquet`. Raises MissingDependencyError when it is not installed or does not load."""
    try:
        importlib.import_module("pyarrow.parquet")
        return importlib.import_module("pyarrow")
    except ImportError as error:
        message = f"this needs Arrow, which cannot be imported ({error}); install it with: pip install 'efq[parquet]'"
        raise MissingDependencyError(message) from error


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FaceRow:
    """A row but its embedding. face: the number of the face in its photo, from 0, the largest first.

    person: empty where nobody says. sha256: of the image's file. box: left, top, right, bottom; box and score of a
    detector, landmarks (10,) of it or of a list: x and y of five points; in pixels of the photo.
    """

    path: str
    face: int
    person: str
    sha256: str
    box: NDArray[np.float32] | None = None
    score: float | None = None
    landmarks: NDArray[np.float32] | None = None


def make_schema(embedding_size: int, *, boxes: bool, landmarks: bool, metadata: str) -> Any:
    """The columns of a file, whose metadata hold `metadata` under `KEY`."""
    arrow = import_pyarrow()
    fields = [
        arrow.field("path", arrow.string(), nullable=False),
        arrow.field("face", arrow.int32(), nullable=False),
        arrow.field("person", arrow.string()),
        arrow.field("sha256", arrow.string(), nullable=False),
    ]
    if boxes:
        fields += [
            arrow.field("box", arrow.list_(arrow.float32(), 4), nullable=False),
            arrow.field("score", arrow.float32(), nullable=False),
        ]
    if landmarks:
        fields.append(arrow.field("landmarks", arrow.list_(arrow.float32(), 10), nullable=False))
    fields.append(arrow.field("embedding", arrow.list_(arrow.float32(), embedding_size), nullable=False))
    return arrow.schema(fields, metadata={KEY: metadata})


class FaceFile:
    """A Parquet file that is being written; the same rows give the same bytes. Made by `written`."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer, self._schema = writer, schema
        self._rows: list[FaceRow] = []
        self._embeddings: list[NDArray[np.float32]] = []
        self.count = 0

    @classmethod
    @contextlib.contextmanager
    def written(cls, path: Path, schema: Any) -> Iterator[Self]:
        """The file, which is whole at `path`, on the disk, when the block ends, and not there when it fails.

        Raises UsageError as `atomic_file`.
        """
        arrow = import_pyarrow()
        with atomic_file(path) as temporary, temporary.open("r+b") as file:
            writer = arrow.parquet.ParquetWriter(
                file,
                schema,
                compression={name: "none" if name.startswith("embedding") else "zstd" for name in _leaves(schema)},
                use_dictionary=["person"],
                write_statistics=["path", "person"],
                write_page_checksum=True,
            )
            try:
                found = cls(writer, schema)
                yield found
                found._write_rows()
                writer.close()
            except BaseException:
                writer.is_open = False  # or its destructor would write to a file that is closed
                raise
            file.flush()
            os.fsync(file.fileno())

    def add(self, rows: Sequence[FaceRow], embeddings: NDArray[np.float32]) -> None:
        """Rows (N) and their embeddings (N, d)."""
        self._rows += rows
        self._embeddings.append(embeddings)
        self.count += len(rows)
        if len(self._rows) >= ROWS:
            self._write_rows()

    def note(self, key: str, value: str) -> None:
        """Add to the file's metadata."""
        self._writer.add_key_value_metadata({key: value})

    def _write_rows(self) -> None:
        if not self._rows:
            return
        arrow = import_pyarrow()
        columns: dict[str, Any] = {
            "path": [row.path for row in self._rows],
            "face": [row.face for row in self._rows],
            "person": [row.person or None for row in self._rows],
            "sha256": [row.sha256 for row in self._rows],
            "box": [row.box for row in self._rows],
            "score": [row.score for row in self._rows],
            "landmarks": [row.landmarks for row in self._rows],
            "embedding": self._embeddings,
        }
        arrays = []
        for field in self._schema:
            values = columns[field.name]
            if arrow.types.is_fixed_size_list(field.type):
                flat = np.concatenate([np.asarray(value, np.float32).reshape(-1) for value in values])
                arrays.append(arrow.FixedSizeListArray.from_arrays(arrow.array(flat), type=field.type))
            else:
                arrays.append(arrow.array(values, field.type))
        self._writer.write_batch(arrow.record_batch(arrays, schema=self._schema), row_group_size=len(self._rows))
        self._rows, self._embeddings = [], []


def metadata_of(path: Path) -> tuple[int, dict[str, str]]:
    """The rows of a Parquet file, and its key-value metadata. Raises InputError for a file that is none."""
    arrow = import_pyarrow()
    try:
        found = arrow.parquet.read_metadata(path)
        pairs = {key.decode(): value.decode() for key, value in (found.metadata or {}).items()}
    except (OSError, arrow.ArrowException, UnicodeDecodeError) as error:
        message = f"expected a Parquet file at {path}, found: {error}"
        raise InputError(message) from error
    return int(found.num_rows), pairs


def _leaves(schema: Any) -> list[str]:
    arrow = import_pyarrow()
    nested = (field for field in schema if arrow.types.is_fixed_size_list(field.type))
    plain = [field.name for field in schema if not arrow.types.is_fixed_size_list(field.type)]
    return [*plain, *(f"{field.name}.list.element" for field in nested)]
