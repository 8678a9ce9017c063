"""Exact search in Qdrant: faces, or the means of people, without what the journal hides."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from efq.runtime.gallery.stores.candidates import Candidates, best_matches
from efq.runtime.gallery.stores.qdrant.journal import Hidden, Journal
from efq.runtime.gallery.stores.qdrant.points import Points, any_of, holds, row_of, text_of
from efq.runtime.gallery.stores.ranking import mean_template
from efq.runtime.gallery.stores.store import Match, Template


def search(
    faces: Points, journal: Journal, template: Template, probe: NDArray[np.float32], k: int
) -> tuple[Match, ...]:
    """The k best matches of one probe, (d,), best first; of equal ones by name."""
    hidden = journal.hidden()
    while True:
        enrolments: dict[str | None, str] = {}
        if template == "mean":
            candidates = functools.partial(_people, faces, journal, hidden, probe)
        else:
            candidates = functools.partial(_faces, faces, hidden, probe, enrolments)
        found = best_matches(candidates, probe, k, template)
        now = journal.hidden()
        if not any(enrolments.get(match.face) in now.enrolments for match in found):
            return found
        hidden = now  # an enrolment that began meanwhile, which is not to be seen yet


def visible_faces(faces: Points, journal: Journal, person: str, *, vectors: bool = False) -> list[models.Record]:
    """The points of a person's faces in the order of their names."""
    return faces_by_person(faces, journal, [person], vectors=vectors).get(person, [])


def faces_by_person(
    faces: Points, journal: Journal, people: Sequence[str], *, vectors: bool = False
) -> dict[str, list[models.Record]]:
    """The points of some people's faces, in the order of their names; without those who have none."""
    pages = faces.named("person", people, models.Filter(must=holds(kind="face")), vectors=vectors)
    points = [point for page in pages for point in page]
    hidden = journal.hidden()  # after them, so that it has every enrolment that brought one
    found: dict[str, list[models.Record]] = {}
    for point in sorted(points, key=lambda point: text_of(point, "face")):
        if not hidden.hides(str(point.id), text_of(point, "enrolment")):
            found.setdefault(text_of(point, "person"), []).append(point)
    return found


def _faces(
    faces: Points, hidden: Hidden, probe: NDArray[np.float32], enrolments: dict[str | None, str], limit: int
) -> Candidates:
    """Faces by their similarity; notes in `enrolments` which of them brought each."""
    out = hidden.conditions()
    points = faces.nearest(probe, models.Filter(must=holds(kind="face"), must_not=out), limit)
    enrolments.update((text_of(point, "face"), text_of(point, "enrolment")) for point in points)
    return Candidates(
        people=[text_of(point, "person") for point in points],
        faces=[text_of(point, "face") for point in points],
        embeddings=np.array([row_of(point) for point in points], np.float32).reshape(len(points), len(probe)),
        least=points[-1].score if len(points) == limit else None,
    )


def _people(faces: Points, journal: Journal, hidden: Hidden, probe: NDArray[np.float32], limit: int) -> Candidates:
    """People by the mean of their faces; of those that are being changed it is computed here."""
    out = [any_of("person", sorted(hidden.people))] if hidden.people else []
    points = faces.nearest(probe, models.Filter(must=holds(kind="person"), must_not=out), limit)
    names = [text_of(point, "person") for point in points]
    rows = [row_of(point) for point in points]
    changed = faces_by_person(faces, journal, sorted(hidden.people), vectors=True) if hidden.people else {}
    for person, mine in changed.items():
        names.append(person)
        rows.append(mean_template(np.stack([row_of(point) for point in mine])))
    return Candidates(
        people=names,
        faces=names,
        embeddings=np.array(rows, np.float32).reshape(len(rows), len(probe)),
        least=points[-1].score if len(points) == limit else None,
    )
