"""The index in memory follows the file, whoever changes that: this process or another."""

from __future__ import annotations

import itertools
import sqlite3
import threading

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.stores.index.exact import Fetched
from efq.runtime.gallery.stores.index.grid import Grid
from efq.runtime.gallery.stores.index.int8_index import Int8Index
from efq.runtime.gallery.stores.ranking import mean_template
from efq.runtime.gallery.stores.sqlite.rows import FaceRows, faces_after, faces_by_id, faces_by_person
from efq.runtime.gallery.stores.store import Template

_AT_ONCE = 4096
_LEAST_FITTED = 64
_COUNTERS = (
    "SELECT (SELECT seq FROM sqlite_sequence WHERE name = 'faces'),"
    " (SELECT seq FROM sqlite_sequence WHERE name = 'removals'), (SELECT min(id) FROM removals)"
)


class Follower:
    """`index` of what a file held when it was last looked at: a row a face, or with the template "mean" a person."""

    def __init__(self, size: int, template: Template) -> None:
        self._size, self._template = size, template
        self._lock = threading.Lock()
        self._face = self._removal = self._loaded = 0
        self.index = Int8Index(size, Grid.for_size(size))

    def load(self, connection: sqlite3.Connection) -> None:
        """Read all of it. Raises GalleryError for rows that are damaged."""
        with self._lock:
            self._load(connection)

    def catch_up(self, connection: sqlite3.Connection) -> None:
        """Take over what was enrolled and removed since then; what was removed is overwritten in memory."""
        if _counters(connection)[:2] == (self._face, self._removal):
            return
        with self._lock:
            face, removal, first = _counters(connection)
            if face < self._face or removal < self._removal or (removal > self._removal and first > self._removal + 1):
                self._load(connection)  # another file's content, or too many removals to follow
                return
            self._take_removed(connection, removal)
            self._take_enrolled(connection, face)
            if self.index.is_misfit and len(self.index) >= 2 * self._loaded:
                self._load(connection)

    def fetch(self, connection: sqlite3.Connection, keys: NDArray[np.int64]) -> Fetched:
        """What the index has under some ascending keys, as the file has it now."""
        if self._template != "mean":
            found = faces_by_id(connection, keys.tolist(), self._size)
            return Fetched(keys=found.ids, rows=found.embeddings, people=found.names, faces=found.faces)
        found = faces_by_person(connection, keys.tolist(), self._size)
        ids, rows = _means(found)
        names = dict(zip(found.people.tolist(), found.names, strict=True))
        return Fetched(keys=ids, rows=rows, people=[names[key] for key in ids.tolist()], faces=[""] * len(ids))

    def _load(self, connection: sqlite3.Connection) -> None:
        """A new index beside the old one, which searches that are at work go on with."""
        self._face, self._removal, _ = _counters(connection)
        (count,) = connection.execute("SELECT count(*) FROM faces").fetchone()
        index = Int8Index(self._size, self._grid(connection), expected=count)
        last = 0
        while len(part := faces_after(connection, last, _AT_ONCE, self._size)):
            self._put(connection, index, part)
            last = int(part.ids[-1])
        self._face = max(self._face, last)
        self.index, self._loaded = index, len(index)

    def _grid(self, connection: sqlite3.Connection) -> Grid:
        """For faces that are drawn from all."""
        drawn = np.unique(np.random.default_rng(0).integers(1, self._face + 2, _AT_ONCE)).tolist()
        rows = faces_by_id(connection, drawn, self._size).embeddings
        return Grid.fitted(rows) if len(rows) >= _LEAST_FITTED else Grid.for_size(self._size)

    def _put(self, connection: sqlite3.Connection, index: Int8Index, part: FaceRows) -> None:
        if self._template == "mean":
            self._put_means(connection, index, np.unique(part.people))
        else:
            index.put(part.ids, part.people if self._template == "best" else part.ids, part.embeddings)

    def _put_means(self, connection: sqlite3.Connection, index: Int8Index, people: NDArray[np.int64]) -> None:
        index.remove(people)
        ids, rows = _means(faces_by_person(connection, people.tolist(), self._size))
        if len(ids):
            index.put(ids, ids, rows)

    def _take_removed(self, connection: sqlite3.Connection, removal: int) -> None:
        after = self._removal
        while rows := connection.execute(
            "SELECT id, person, face FROM removals WHERE id > ? AND id <= ? ORDER BY id LIMIT 10000", (after, removal)
        ).fetchall():
            people, faces = (np.array([row[place] for row in rows], np.int64) for place in (1, 2))
            if self._template == "mean":
                self._put_means(connection, self.index, np.unique(people))
            else:
                self.index.remove(faces)
            after = rows[-1][0]
        self._removal = removal

    def _take_enrolled(self, connection: sqlite3.Connection, face: int) -> None:
        while self._face < face:
            part = faces_after(connection, self._face, _AT_ONCE, self._size)
            if len(part):
                self._put(connection, self.index, part)
            self._face = int(part.ids[-1]) if len(part) else face


def _counters(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """The last face and the last removal there ever were, and the first removal that is still written down."""
    row = connection.execute(_COUNTERS).fetchone()
    if not all(value is None or isinstance(value, int) for value in row):
        message = "expected a gallery as it was written, found damaged counters; restore the file from a copy"
        raise GalleryError(message)
    return row[0] or 0, row[1] or 0, row[2] or 0


def _means(found: FaceRows) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """People, ascending, and the mean of each."""
    ids, starts = np.unique(found.people, return_index=True)
    rows = np.empty((len(ids), found.embeddings.shape[1]), np.float32)
    for place, (start, end) in enumerate(itertools.pairwise([*starts.tolist(), len(found)])):
        rows[place] = mean_template(found.embeddings[start:end])
    return ids, rows
