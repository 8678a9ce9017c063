"""Enrolled people in Qdrant: what is seen of a change that ends half-way, wherever that is.

What every store does is in test_gallery_stores.py. A server was not at hand: local mode runs behind the same code.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
from messages import raises_naming
from qdrant_local import client_of, new_place
from stores import faces, open_store

from efq.runtime.errors import GalleryError, MissingDependencyError, UsageError
from efq.runtime.gallery.stores.store import GalleryStore, StoreSize, Template

WRITES = ("upsert", "set_payload", "delete")


class GoneError(OSError):
    """The server does not answer."""


class FailsAt:
    """The server is gone from the n-th write on; `is_done`: that one is done, and only its answer is lost."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, name: str, arguments: object) -> None:
        if name in WRITES:
            self.left -= 1
        if self.left <= 0:
            raise GoneError


def state(store: GalleryStore, rows: np.ndarray) -> tuple[object, ...]:
    """All that can be seen of a gallery, without names that were made at random."""
    found = store.search(rows, 10)
    similarities = [[(match.person, round(match.similarity, 6)) for match in matches] for matches in found]
    exported = sorted(name for part in store.export() for name in part.people.tolist())
    return store.size(), similarities, [(person.name, person.faces) for person in store.people()], exported


@pytest.mark.parametrize("template", ["best", "mean"])
@pytest.mark.parametrize("action", ["enroll", "remove"])
def test_a_change_is_seen_as_a_whole_wherever_it_ends(template: Template, action: str) -> None:
    rows = faces(6, seed=0)

    def change(store: GalleryStore) -> None:
        if action == "enroll":
            store.enroll("Ada", rows[3:], faces=["3", "4", "5"])
        else:
            store.remove("Ada")

    for number in range(1, 20):
        place = new_place()
        with open_store(place, template=template) as store:
            store.enroll("Ada", rows[:2])
            store.enroll("Grace", rows[2:3])
            before = state(store, rows)
            client_of(place).fails = FailsAt(number)
            failed = False
            try:
                change(store)
            except GalleryError:
                failed = True
            is_left = client_of(place).fails.left > 0
            client_of(place).fails = None
            seen = state(store, rows)
            assert (seen == before) == failed
            if not failed:
                after = seen
        with open_store(place) as store:  # which tidies up
            assert state(store, rows) == seen
            if action == "enroll" and failed:
                journal = client_of(place).scroll("faces-journal", limit=10)[0]
                assert {(point.payload or {}).get("state") for point in journal} <= {None, "enrolling", "abandoned"}
        if is_left:
            assert not failed
            assert after != before
            return
    pytest.fail("expected a change of fewer writes")


def test_an_enrolment_without_a_sign_of_life_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    place = new_place()
    rows = faces(2, seed=0)
    with open_store(place) as store:
        client_of(place).fails = FailsAt(4)  # after its faces were written
        with pytest.raises(GalleryError):
            store.enroll("Ada", rows, faces=["a", "b"])
        client_of(place).fails = None
        assert store.size() == StoreSize(people=0, faces=0)
        assert client_of(place).count("faces").count == 2
    monkeypatch.setattr("efq.runtime.gallery.stores.qdrant.changing.LONGEST_SILENCE", -1.0)
    with open_store(place) as store:
        assert client_of(place).count("faces").count == 0
        store.enroll("Ada", rows, faces=["a", "b"])


def test_removed_points_are_gone() -> None:
    place = new_place()
    with open_store(place, template="mean") as store:
        store.enroll("Ada", faces(3, seed=0))
        assert store.remove("Ada") == 3
        assert client_of(place).count("faces").count == 0
        assert client_of(place).count("faces-journal").count == 1  # the record


def test_errors_name_the_server_and_nobody() -> None:
    place = new_place()
    with open_store(place) as store:
        store.enroll("Ada", faces(1, seed=0))
        client_of(place).fails = FailsAt(0)
        calls = (
            lambda: store.enroll("Grace", faces(1, seed=1)),
            lambda: store.remove("Ada"),
            lambda: store.search(faces(1, seed=0)),
            store.size,
            store.check,
        )
        for call in calls:
            with raises_naming(GalleryError, "faces") as caught:
                call()
            assert "Ada" not in str(caught.value)
            assert "Grace" not in str(caught.value)


def test_no_server() -> None:
    pytest.importorskip("qdrant_client")
    with raises_naming(GalleryError, "127.0.0.1", "9"):
        open_store("qdrant://127.0.0.1:9/faces")


@pytest.mark.parametrize(
    "place",
    [
        "qdrant://host",
        "qdrant://host/",
        "qdrant:///faces",
        "qdrant://host:port/faces",
        "qdrant://host/faces/more",
        "qdrant://host/faces?key=secret-word",
        "qdrants://secret-word@host/faces",
        "qdrants://:secret/word@host/faces",
        "qdrant://:secret-word@host.example/faces",
    ],
)
def test_addresses_that_are_none(place: str) -> None:
    pytest.importorskip("qdrant_client")
    with pytest.raises(UsageError) as caught:
        open_store(place)
    assert "secret" not in str(caught.value)


def test_a_foreign_collection_is_left_alone() -> None:
    place = new_place()
    client_of(place).create_collection("faces", vectors_config={})
    with pytest.raises(GalleryError):
        open_store(place)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with raises_naming(MissingDependencyError, "efq[qdrant]"):
        open_store("qdrant://host/faces")
