"""Embed a gallery's crops with another model, in parts that outlive a killed run.

Beside the output lies a folder of parts: what they are of (`plan.json`), and a file of embeddings for each `CHUNK`
faces in the chosen order. A run takes up where the last one ended; as the parts are cut and embedded in the same way,
the result has the same bytes as that of a run that was never ended.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError
from efq.runtime.files import atomic_write_text
from efq.runtime.gallery.gallery import Gallery, unit_rows
from efq.runtime.gallery.npz import read_arrays, write_arrays
from efq.runtime.gallery.record import GalleryRecord, Origin
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.reading import read_json
from efq.toolchain.migration.crops import Crops
from efq.toolchain.migration.models import OpenModel

CHUNK = 128
"""Faces in a part: what a killed run loses at most."""

_PLAN = "plan.json"
_SCHEMA_VERSION = 1
_EXPECTED = "a part of a migration"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reembedding:
    """A gallery's faces in the order they are embedded in: `order`, rows of the gallery, of those that have crops.

    parts: the folder of what is done.
    """

    gallery: Gallery
    order: NDArray[np.int64]
    crops: Crops
    parts: Path

    @property
    def done(self) -> int:
        """How many faces earlier runs embedded, whole parts from the first on."""
        count = 0
        while count < len(self.order) and self._part(count).is_file():
            count = min(count + CHUNK, len(self.order))
        return count

    def begin(self, new: OpenModel) -> None:
        """Make the folder of parts, or make sure that it is of the same work, and its crops are what they were.

        Raises InputError for parts of another gallery, model or order, damaged ones, or crops that changed since.
        """
        plan = self._plan(new)
        path = self.parts / _PLAN
        if self.parts.exists():
            found = read_json(path, expected="the plan of a migration", limit=1 << 20)
            if found != plan:
                differs = sorted(key for key in plan if not isinstance(found, dict) or found.get(key) != plan[key])
                message = (
                    f"expected in {self.parts} what an earlier run of this migration left, found one of another "
                    f"{', '.join(differs) or 'kind'}; finish that one, or remove the folder"
                )
                raise InputError(message)
            self._check_crops()
            return
        atomic_write_text(path, json.dumps(plan, sort_keys=True, indent=1) + "\n")

    def run(self, new: OpenModel, *, most: int | None = None, progress: ShowProgress = no_progress) -> int:
        """Embed what is left, at most about `most` faces of it; how many are done then.

        Raises InputError for crops that are none, of another size, or not those enrolled; what `new.embed` raises.
        """
        self.begin(new)
        start = self.done
        end = len(self.order) if most is None else min(len(self.order), start + most)
        with progress("embedding crops", len(self.order) - start, "faces") as shown:
            while start < end:
                rows = self.order[start : start + CHUNK]
                images, hashes = self.crops.read(self.gallery, rows)
                write_arrays(self._part(start), {"embeddings": new.embed(images), "hashes": hashes})
                shown.advance(len(rows))
                start += len(rows)
        return start

    def result(self, new: OpenModel, figures: dict[str, Any] | None = None) -> Gallery:
        """The gallery of the faces done, in the order they have in the old one. Raises InputError where none is."""
        rows, embeddings, hashes = self._read(new)
        order = np.argsort(rows)
        old = self.gallery.record.model
        record = GalleryRecord(
            model=new.model, origin=Origin(kind="re-embed", model=old, figures=figures or {"faces": len(rows)})
        )
        kept = self.gallery.take(rows[order])
        return Gallery.of(embeddings[order], kept.people, kept.faces, record, hashes=hashes[order])

    @property
    def waiting(self) -> Gallery:
        """The gallery of the faces that are not done, by the old model."""
        left = np.ones(len(self.gallery), bool)
        left[self.order[: self.done]] = False
        return self.gallery.take(left)

    def remove(self) -> None:
        """Remove the parts, whose result is written."""
        shutil.rmtree(self.parts, ignore_errors=True)

    def _part(self, start: int) -> Path:
        return self.parts / f"{start // CHUNK:06}.npz"

    def _plan(self, new: OpenModel) -> dict[str, Any]:
        return {
            "schema_version": _SCHEMA_VERSION,
            "gallery": gallery_sha256(self.gallery),
            "model": new.model.sha256,
            "order": hashlib.sha256(self.order.astype("<i8").tobytes()).hexdigest(),
            "chunk": CHUNK,
        }

    def _read(self, new: OpenModel) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.str_]]:
        done = self.done
        if not done:
            message = f"expected faces that are embedded already in {self.parts}, found none"
            raise InputError(message)
        parts = [self._read_part(start, new.model.embedding_size) for start in range(0, done, CHUNK)]
        rows = self.order[:done]
        return rows, np.concatenate([rows_ for rows_, _ in parts]), np.concatenate([hashes for _, hashes in parts])

    def _read_part(self, start: int, size: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        path = self._part(start)
        arrays = read_arrays(path, frozenset({"embeddings", "hashes"}), expected=_EXPECTED)
        count = min(CHUNK, len(self.order) - start)
        if set(arrays) != {"embeddings", "hashes"} or arrays["hashes"].shape != (count,):
            message = f"expected {_EXPECTED} of {count} faces at {path}, found another; remove it to embed them again"
            raise InputError(message)
        embeddings = unit_rows(arrays["embeddings"], normalize=False)
        if len(embeddings) != count or size not in (None, embeddings.shape[1]):
            message = f"expected embeddings of {count} faces of {size} values at {path}, found {embeddings.shape}"
            raise InputError(message)
        return embeddings, arrays["hashes"]

    def _check_crops(self) -> None:
        """The crops of the parts are the same files as when they were embedded. Raises InputError."""
        for start in range(0, self.done, CHUNK):
            faces = self.gallery.faces[self.order[start : start + CHUNK]]
            self.crops.refuse_changed(faces, self._read_part(start)[1], self.crops.hashes(faces.tolist()))


def gallery_sha256(gallery: Gallery) -> str:
    """The digest of a gallery's content, however it is stored."""
    digest = hashlib.sha256(gallery.record.to_json().encode())
    digest.update(np.ascontiguousarray(gallery.embeddings).astype("<f4").tobytes())
    for names in (gallery.people, gallery.faces, gallery.hashes):
        digest.update("\n".join(names.tolist()).encode())
    return digest.hexdigest()
