"""Enrolling and removing: each a change in the journal, so that it is seen as a whole or not at all."""

from __future__ import annotations

import datetime
import logging
import time
import uuid
from collections.abc import Sequence

import numpy as np
from qdrant_client import models

from efq.runtime.errors import EfqError, GalleryError, InputError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.stores.qdrant.journal import LONGEST_SILENCE, Change, Journal, name_identifier
from efq.runtime.gallery.stores.qdrant.points import ROWS, Points, holds, is_one_of, row_of, text_of
from efq.runtime.gallery.stores.qdrant.searching import faces_by_person, visible_faces
from efq.runtime.gallery.stores.ranking import mean_template

_LOGGER = logging.getLogger(__name__)

_PEOPLE = 1_000  # whose faces are read at once
_MEMBERS = "person"  # the kind of a point that is of a person, not of a face


def enroll(faces: Points, journal: Journal, parts: Sequence[Gallery]) -> None:
    """Add all faces. Raises InputError where one is enrolled already; GalleryError."""
    journal.forget_abandoned()
    people = sorted({name for part in parts for name in part.people.tolist()})
    change = journal.begin(people, state="enrolling")
    try:
        for part in parts:
            for start in range(0, len(part), ROWS):
                rows = part.take(np.arange(start, min(start + ROWS, len(part))))
                faces.write(_points(rows, change))
                journal.sign(change)
        for part in parts:
            for start in range(0, len(part), ROWS):
                _refuse_known(faces, journal, part.faces[start : start + ROWS].tolist(), change)
    except BaseException:
        _abandon(faces, journal, change)
        raise
    _commit(faces, journal, change)
    try:
        _settle(faces, journal, change)
    except GalleryError as error:  # it is enrolled, and searched as it should be
        _LOGGER.warning("enrolled; whoever opens the gallery next tidies up: %s", error)


def remove(faces: Points, journal: Journal, person: str, face: str | None) -> int:
    """Delete a person or a face of theirs: how many faces."""
    points = visible_faces(faces, journal, person)
    seen = [str(point.id) for point in points if face is None or text_of(point, "face") == face]
    if not seen:
        return 0
    change = journal.begin([person], seen, state="removing")
    try:
        _finish_removal(faces, journal, change)
    except GalleryError as error:
        _LOGGER.warning("removed, but its points are deleted by whoever opens the gallery next: %s", error)
    return len(seen)


def finish_changes(faces: Points, journal: Journal) -> None:
    """Finish what clients that died left behind."""
    journal.forget_abandoned()
    for change in journal.changes():
        if change.state == "removing":
            _finish_removal(faces, journal, change)
        elif change.state == "settling":
            _settle(faces, journal, change)
        elif change.state == "abandoned" or abs(time.time() - change.seen) > LONGEST_SILENCE:
            _abandon(faces, journal, change)


def _commit(faces: Points, journal: Journal, change: Change) -> None:
    """Let the enrolment be seen; where no answer came, ask what it is."""
    try:
        state = journal.decide(change, "settling")
    except GalleryError:
        try:
            state = journal.decide(change, "abandoned")  # whichever came first holds
        except GalleryError as error:
            message = f"{error}; whether the faces are enrolled is not known: look"
            raise GalleryError(message) from None
    if state != "settling":
        _abandon(faces, journal, change)
        message = "expected Qdrant to enroll faces, found the enrolment given up; nothing was enrolled: do it again"
        raise GalleryError(message)


def _abandon(faces: Points, journal: Journal, change: Change) -> None:
    """Take back an enrolment that was not decided on; where the server is away, who opens the gallery next does."""
    try:
        if journal.decide(change, "abandoned") == "abandoned":
            faces.delete(models.Filter(must=holds(enrolment=change.identifier)))
    except EfqError:
        return


def _finish_removal(faces: Points, journal: Journal, change: Change) -> None:
    for start in range(0, len(change.faces), ROWS):
        faces.delete(models.Filter(must=[is_one_of(change.faces[start : start + ROWS])]))
    _settle(faces, journal, change)


def _settle(faces: Points, journal: Journal, change: Change) -> None:
    """Make the points of the people of a change anew, until none of their faces came or went meanwhile."""
    for start in range(0, len(change.people), _PEOPLE):
        people = change.people[start : start + _PEOPLE]
        before: set[str] | None = None
        while True:
            points = faces_by_person(faces, journal, people, vectors=True)
            now = {str(point.id) for mine in points.values() for point in mine}
            if now == before:
                break
            before = now
            faces.write([_member(person, mine) for person, mine in points.items()])
            gone = [name_identifier(_MEMBERS, person) for person in people if person not in points]
            if gone:
                faces.delete(models.Filter(must=[is_one_of(gone)]))
    journal.end(change)


def _member(person: str, points: Sequence[models.Record]) -> models.PointStruct:
    """The point of a person: the mean of their faces, which are in the order of names, how many, and since when."""
    rows = np.stack([row_of(point) for point in points])
    payload = {
        "kind": _MEMBERS,
        "person": person,
        "faces": len(points),
        "enrolled": min(text_of(point, "enrolled") for point in points),
    }
    identifier = name_identifier(_MEMBERS, person)
    return models.PointStruct(id=identifier, vector=mean_template(rows).tolist(), payload=payload)


def _points(rows: Gallery, change: Change) -> list[models.PointStruct]:
    enrolled = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = zip(rows.people.tolist(), rows.faces.tolist(), rows.hashes.tolist(), rows.embeddings.tolist(), strict=True)
    return [
        models.PointStruct(
            id=str(uuid.uuid4()),
            vector=embedding,
            payload={
                "kind": "face",
                "person": person,
                "face": face,
                "hash": digest,
                "enrolled": enrolled,
                "enrolment": change.identifier,
            },
        )
        for person, face, digest, embedding in named
    ]


def _refuse_known(faces: Points, journal: Journal, names: list[str], change: Change) -> None:
    """Raise InputError where another enrolment has one of the faces: of two at the same time, at least one sees it."""
    others = models.Filter(must=holds(kind="face"), must_not=holds(enrolment=change.identifier))
    for page in faces.named("face", names, others):
        if not page:
            continue
        gone = {one.identifier for one in journal.changes() if one.state == "abandoned"}
        removed = journal.hidden().faces
        if any(text_of(point, "enrolment") not in gone and str(point.id) not in removed for point in page):
            message = "expected faces that are not enrolled, found one that is; remove it first, or name it anew"
            raise InputError(message)
