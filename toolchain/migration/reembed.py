"""Embed a gallery's crops with another model, in parts that outlive a killed run.

Beside the output lies a folder of parts: what they are of (`plan.json`), and a file of embeddings for each `CHUNK`
faces in the chosen order. A run takes up where the last one ended; as the parts are cut and embedded in the same way,
the result has the same bytes as that of a run that was never ended.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
from collections.abc import Iterator
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
from efq.toolchain.migration.ordering import MAP, order_by_map, order_rows

CHUNK = 128
"""Faces in a part: what a killed run loses at most."""

_PLAN = "plan.json"
_SCHEMA_VERSION = 1
_EXPECTED = "a part of a migration"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reembedding:
    """A gallery's faces, and the order they are embedded in.

    rows: those that have crops, ascending. measure: one of `MEASURES`. sample: so many, drawn by `seed`, come first in
    any case. parts: the folder of what is done.
    """

    gallery: Gallery
    rows: NDArray[np.int64]
    measure: str
    sample: int
    seed: int
    crops: Crops
    parts: Path

    @functools.cached_property
    def drawn(self) -> NDArray[np.int64]:
        """The rows that come first, ascending."""
        return np.sort(np.random.default_rng(self.seed).permutation(self.rows)[: self.sample])

    @functools.cached_property
    def _rest(self) -> NDArray[np.int64]:
        """The others in their order; by a map it is known when those drawn are embedded."""
        if self.measure == MAP:
            whole = order_by_map(self.gallery, self.drawn, self._read(len(self.drawn))[0])
        else:
            whole = order_rows(self.gallery, self.measure, seed=self.seed)
        return whole[np.isin(whole, np.setdiff1d(self.rows, self.drawn))]

    @property
    def order(self) -> NDArray[np.int64]:
        """All rows that are embedded, first to last, as far as that is known."""
        last = [*self._starts(len(self.drawn))][-1]
        if self.measure == MAP and not self._part(last).is_file():
            return self.drawn
        return np.concatenate([self.drawn, self._rest])

    def _rows_of(self, start: int) -> NDArray[np.int64]:
        """The rows of the part that begins at `start`."""
        end, count = self._end(start), len(self.drawn)
        return self.drawn[start:end] if start < count else self._rest[start - count : end - count]

    @property
    def done(self) -> int:
        """How many faces earlier runs embedded, whole parts from the first on."""
        count = 0
        while count < len(self.rows) and self._part(count).is_file():
            count = self._end(count)
        return count

    def _end(self, start: int) -> int:
        """Where the part that begins at `start` ends: those drawn are parts of their own."""
        last = len(self.drawn) if start < len(self.drawn) else len(self.rows)
        return min(start + CHUNK, last)

    def begin(self, new: OpenModel) -> None:
        """Make the folder of parts, or make sure that it is of the same work, and its crops are what they were.

        Raises InputError for parts of another gallery, model or order, damaged ones, or crops that changed since.
        """
        plan = self._plan(new)
        path = self.parts / _PLAN
        if path.exists():
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
        for left in self.parts.glob("[0-9]" * 9 + ".npz"):  # of a run that was ended while it removed them
            left.unlink()
        atomic_write_text(path, json.dumps(plan, sort_keys=True, indent=1) + "\n")

    def run(self, new: OpenModel, *, most: int | None = None, progress: ShowProgress = no_progress) -> int:
        """Embed what is left, at most about `most` faces of it, once it was begun; how many are done then.

        Raises InputError for crops that are none, of another size, or not those enrolled; what `new.embed` raises.
        """
        start = self.done
        end = len(self.rows) if most is None else min(len(self.rows), start + most)
        with progress("embedding crops", end - start, "faces") as shown:
            while start < end:
                rows = self._rows_of(start)
                images, hashes = self.crops.read(self.gallery, rows)
                write_arrays(self._part(start), {"embeddings": new.embed(images), "hashes": hashes})
                shown.advance(len(rows))
                start += len(rows)
        return start

    def result(self, new: OpenModel) -> Gallery:
        """The gallery of the faces done, in the order they have in the old one. Raises InputError where none is."""
        done = self.done
        if not done:
            message = f"expected faces that are embedded already in {self.parts}, found none"
            raise InputError(message)
        embeddings, hashes = self._read(done, new.model.embedding_size)
        rows = self.order[:done]
        order = np.argsort(rows)
        before = self.gallery.record.origin
        former = self.gallery.record.model if before is None else before.model
        origin = Origin(kind="re-embed", model=former, figures={"faces": len(rows)})
        record = GalleryRecord(model=new.model, origin=origin)
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
        (self.parts / _PLAN).unlink(missing_ok=True)
        shutil.rmtree(self.parts, ignore_errors=True)

    def _part(self, start: int) -> Path:
        return self.parts / f"{start:09}.npz"

    def _plan(self, new: OpenModel) -> dict[str, Any]:
        return {
            "schema_version": _SCHEMA_VERSION,
            "gallery": gallery_sha256(self.gallery),
            "model": new.model.sha256,
            "crops": hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest(),
            "order": [self.measure, self.sample, self.seed],
            "chunk": CHUNK,
        }

    def _starts(self, end: int) -> Iterator[int]:
        start = 0
        while start < end:
            yield start
            start = self._end(start)

    def _read(self, end: int, size: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        """Embeddings and hashes of the first `end` faces, whole parts. Raises InputError for damaged ones."""
        parts = [self._read_part(start, size) for start in self._starts(end)]
        return np.concatenate([one for one, _ in parts]), np.concatenate([one for _, one in parts])

    def _read_part(self, start: int, size: int | None = None) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
        path = self._part(start)
        arrays = read_arrays(path, frozenset({"embeddings", "hashes"}), expected=_EXPECTED)
        count = self._end(start) - start
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
        for start in self._starts(self.done):
            faces = self.gallery.faces[self._rows_of(start)]
            self.crops.refuse_changed(faces, self._read_part(start)[1], self.crops.hashes(faces.tolist()))


def gallery_sha256(gallery: Gallery) -> str:
    """The digest of a gallery's content, however it is stored."""
    digest = hashlib.sha256(gallery.record.to_json().encode())
    digest.update(np.ascontiguousarray(gallery.embeddings).astype("<f4").tobytes())
    for names in (gallery.people, gallery.faces, gallery.hashes):
        digest.update("\n".join(names.tolist()).encode())
    return digest.hexdigest()
