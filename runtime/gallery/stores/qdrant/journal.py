"""What is being changed in a gallery: Qdrant changes a point as a whole, but not several.

A change is a point of a collection of its own, from before its first write to after its last one:

enrolling   its faces are not seen yet; becomes `settling`, in one write: from then on it is done
settling    its faces are seen; the points of its people are being made anew
removing    the faces it lists are not seen any more
abandoned   an enrolment that failed: its faces are never seen; kept for a minute, for searches that began before

Whoever opens the gallery finishes what a client that died left behind, an enrolment as a failed one once it has shown
no sign of life for an hour.
"""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Sequence

from qdrant_client import models

from efq.runtime.gallery.stores.qdrant.points import Points, any_of, holds, is_one_of, text_of

LONGEST_SILENCE = 3600.0
"""Seconds after which an enrolment has failed; clocks of clients may differ by less."""

LONGEST_SEARCH = 60.0
"""Seconds; a client gives up before."""

_NAMESPACE = uuid.UUID("5d0a0b0e-3a0c-5d3c-9f0e-6a1f6b6a0f21")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """identifier: of the change, and of an enrolment. people: whom it is of. faces: identifiers of removed points."""

    identifier: str
    state: str
    people: tuple[str, ...]
    faces: tuple[str, ...] = ()
    seen: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hidden:
    """What a search may not see now: faces of enrolments, faces by identifier; people whose points are not right."""

    enrolments: frozenset[str]
    faces: frozenset[str]
    people: frozenset[str]

    def conditions(self) -> list[models.Condition]:
        """Of the faces that are not to be seen."""
        found = [any_of("enrolment", sorted(self.enrolments))] if self.enrolments else []
        return [*found, is_one_of(sorted(self.faces))] if self.faces else found

    def hides(self, identifier: str, enrolment: str) -> bool:
        """Whether a face is not to be seen."""
        return enrolment in self.enrolments or identifier in self.faces


class Journal:
    """The changes under way."""

    def __init__(self, points: Points) -> None:
        self._points = points

    def begin(self, people: Sequence[str], faces: Sequence[str] = (), *, state: str) -> Change:
        """Note that a change begins."""
        change = Change(identifier=str(uuid.uuid4()), state=state, people=tuple(people), faces=tuple(faces))
        payload = {"kind": "change", "state": state, "people": list(people), "faces": list(faces), "seen": time.time()}
        self._points.write([_point(change.identifier, payload)])
        return change

    def sign(self, change: Change) -> None:
        """Show that the client of a change is alive."""
        self._points.set_where({"seen": time.time()}, models.Filter(must=[is_one_of([change.identifier])]))

    def decide(self, change: Change, state: str) -> str:
        """Let an enrolment become `state`, unless it is none under way any more: what it is now."""
        only = [is_one_of([change.identifier]), *holds(state="enrolling")]
        self._points.set_where({"state": state}, models.Filter(must=only))
        found = self._points.get([change.identifier])
        return text_of(found[0], "state") if found else "abandoned"

    def end(self, change: Change) -> None:
        """Forget it."""
        self._points.delete(models.Filter(must=[is_one_of([change.identifier])]))

    def forget_abandoned(self) -> None:
        """Forget the enrolments that failed, once no search is left that began before."""
        old = models.FieldCondition(key="seen", range=models.Range(lt=time.time() - LONGEST_SEARCH))
        self._points.delete(models.Filter(must=[*holds(kind="change", state="abandoned"), old]))

    def changes(self) -> list[Change]:
        """All that are under way."""
        pages = self._points.pages(models.Filter(must=holds(kind="change")))
        return [_change(point) for page in pages for point in page]

    def hidden(self) -> Hidden:
        """What is not to be seen now."""
        changes = self.changes()
        return Hidden(
            enrolments=frozenset(one.identifier for one in changes if one.state in ("enrolling", "abandoned")),
            faces=frozenset(face for one in changes for face in one.faces),
            people=frozenset(name for one in changes if one.state in ("settling", "removing") for name in one.people),
        )


def name_identifier(kind: str, name: str) -> str:
    """The identifier of the one point of a name: RFC 9562, version 5."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind}\n{name}"))


def _point(identifier: str, payload: dict[str, object]) -> models.PointStruct:
    return models.PointStruct(id=identifier, vector=[1.0], payload=payload)


def _change(point: models.Record) -> Change:
    payload = point.payload or {}
    return Change(
        identifier=str(point.id),
        state=text_of(point, "state"),
        people=tuple(payload.get("people") or ()),
        faces=tuple(payload.get("faces") or ()),
        seen=float(payload.get("seen") or 0.0),
    )
