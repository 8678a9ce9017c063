"""The store: `GalleryStore` on two collections of a Qdrant cluster."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from efq.runtime.errors import GalleryError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.open import StoreOptions
from efq.runtime.gallery.stores.qdrant import changing, points, searching
from efq.runtime.gallery.stores.qdrant.address import parse_address
from efq.runtime.gallery.stores.qdrant.described import open_record, read_record
from efq.runtime.gallery.stores.qdrant.journal import Journal
from efq.runtime.gallery.stores.qdrant.points import Points, any_of, holds, row_of, text_of
from efq.runtime.gallery.stores.ranking import mean_template
from efq.runtime.gallery.stores.store import GalleryStore, Match, Person, StoreSize, Template
from efq.runtime.gallery.stores.thresholds import FmrThresholds

_PART = 1_000  # faces of an export
_TRIES = 8  # to count while others enroll


class QdrantStore(GalleryStore):
    """People in a collection. Opened by `open_gallery`; any number of processes may use one at a time."""

    kind = "qdrant"

    def __init__(
        self,
        client: QdrantClient,
        faces: Points,
        journal: Points,
        record: GalleryRecord,
        template: Template,
        thresholds: FmrThresholds,
    ) -> None:
        super().__init__(record, template, thresholds)
        self._client = client
        self._faces = faces
        self._notes = journal
        self._journal = Journal(journal)

    @classmethod
    def open(cls, options: StoreOptions) -> Self:
        """Open or make the gallery of an address. Raises as `open_gallery`."""
        address = parse_address(options.place)
        client = points.connect(address)
        try:
            faces = Points(client, address.collection, address)
            journal = Points(client, f"{address.collection}-journal", address)
            record, template = open_record(faces, journal, options)
            changing.finish_changes(faces, Journal(journal))
            return cls(client, faces, journal, record, template, options.thresholds)
        except BaseException:
            client.close()
            raise

    def size(self) -> StoreSize:
        hidden = self._journal.hidden()
        for _ in range(_TRIES):
            faces = self._faces.count(models.Filter(must=holds(kind="face"), must_not=hidden.conditions()))
            before, hidden = hidden, self._journal.hidden()
            if hidden.enrolments <= before.enrolments:
                break
        changed = [any_of("person", sorted(hidden.people))] if hidden.people else []
        people = self._faces.count(models.Filter(must=holds(kind="person"), must_not=changed))
        people += sum(1 for person in hidden.people if self.faces_of(person))
        return StoreSize(people=people, faces=faces)

    def _faces_of(self, person: str) -> tuple[str, ...]:
        found = searching.visible_faces(self._faces, self._journal, person)
        return tuple(text_of(point, "face") for point in found)

    def export(self) -> Iterator[Gallery]:
        names: list[tuple[str, str, str]] = []
        for page in self._faces.pages(models.Filter(must=holds(kind="face"))):
            hidden = self._journal.hidden()
            for point in page:
                if not hidden.hides(str(point.id), text_of(point, "enrolment")):
                    names.append((text_of(point, "person"), text_of(point, "face"), str(point.id)))
        names.sort()
        for start in range(0, len(names), _PART):
            part = [identifier for _, _, identifier in names[start : start + _PART]]
            found = {str(point.id): point for point in self._faces.get(part, vectors=True)}
            rows = [found[identifier] for identifier in part if identifier in found]  # others were removed meanwhile
            if rows:
                yield Gallery.of(
                    np.stack([row_of(point) for point in rows]),
                    [text_of(point, "person") for point in rows],
                    [text_of(point, "face") for point in rows],
                    self._record,
                    hashes=[text_of(point, "hash") for point in rows],
                )

    def check(self) -> None:
        record, template = read_record(self._notes)
        if record != self._record or template != self._template or not self._faces.is_there():
            message = f"expected the gallery that was opened ({self._record.model}), found another; open it"
            raise GalleryError(message)

    def close(self) -> None:
        self._faces.close()
        self._notes.close()
        self._client.close()

    def _enroll(self, parts: Sequence[Gallery]) -> None:
        changing.enroll(self._faces, self._journal, [part for part in parts if len(part)])

    def _remove(self, person: str, face: str | None) -> int:
        return changing.remove(self._faces, self._journal, person, face)

    def _templates_of(self, person: str) -> NDArray[np.float32] | None:
        found = searching.visible_faces(self._faces, self._journal, person, vectors=True)
        if not found:
            return None
        rows = np.stack([row_of(point) for point in found])
        return mean_template(rows)[None] if self._template == "mean" else rows

    def _search(self, probes: NDArray[np.float32], k: int) -> list[tuple[Match, ...]]:
        return [searching.search(self._faces, self._journal, self._template, probe, k) for probe in probes]

    def _people(self, after: str, limit: int) -> list[Person]:
        """Reads the points of all people: Qdrant has no order of texts."""
        hidden = self._journal.hidden()
        listed = (
            Person(
                name=text_of(point, "person"),
                faces=int((point.payload or {})["faces"]),
                enrolled=text_of(point, "enrolled"),
            )
            for page in self._faces.pages(models.Filter(must=holds(kind="person")))
            for point in page
            if text_of(point, "person") not in hidden.people
        )
        changed = (self._person(name) for name in hidden.people)
        every = (person for people in (listed, changed) for person in people if person is not None)
        return heapq.nsmallest(limit, (one for one in every if one.name > after), key=lambda one: one.name)

    def _person(self, name: str) -> Person | None:
        found = searching.visible_faces(self._faces, self._journal, name)
        enrolled = min((text_of(point, "enrolled") for point in found), default="")
        return Person(name=name, faces=len(found), enrolled=enrolled) if found else None
