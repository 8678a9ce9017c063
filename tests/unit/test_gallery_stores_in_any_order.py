"""Calls of a store in any order, by two that share a place, beside a dictionary and brute force in float64."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from store_reference import TOLERANCE, Reference
from stores import PLACES, faces, open_store

from efq.runtime.errors import InputError
from efq.runtime.gallery.stores.store import GalleryStore, StoreSize, Template

PEOPLE = st.sampled_from(["Ada", "ada", "Grace", "Édith", "日本", "z"])
SEEDS = st.integers(0, 5)  # the same embedding comes again, of others too
SHARED = st.integers(0, 1)
_places = itertools.count()


class AnyOrder(RuleBasedStateMachine):
    """`make` gives a place in a folder."""

    make: Callable[[Path], str]

    @initialize(template=st.sampled_from(["best", "mean", "all"]))
    def open(self, template: Template) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.place = type(self).make(Path(self.folder.name))
        self.reference = Reference(template=template)
        self.names = itertools.count()
        self.stores: list[GalleryStore] = [open_store(self.place, template=template) for _ in range(2)]

    def teardown(self) -> None:
        for store in getattr(self, "stores", ()):
            store.close()
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(shared=SHARED, person=PEOPLE, seed=SEEDS, count=st.integers(1, 3), backwards=st.booleans())
    def enroll(self, shared: int, person: str, seed: int, count: int, backwards: bool) -> None:
        names = [f"{next(self.names)}" for _ in range(count)]
        rows = faces(count, seed=seed)
        if backwards:  # opposite faces cancel out in a mean
            rows = -rows
        assert self.stores[shared].enroll(person, rows, faces=names) == tuple(names)
        self.reference.enroll(person, rows, names)

    @precondition(lambda self: self.reference.enrolled)
    @rule(shared=SHARED, person=PEOPLE, data=st.data())
    def enroll_what_is_there(self, shared: int, person: str, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.reference.enrolled)))
        face = data.draw(st.sampled_from(sorted(self.reference.enrolled[owner])))
        with pytest.raises(InputError):
            self.stores[shared].enroll(person, faces(2, seed=9), faces=["new", face])

    @rule(shared=SHARED, person=PEOPLE)
    def remove(self, shared: int, person: str) -> None:
        assert self.stores[shared].remove(person) == self.reference.remove(person)

    @precondition(lambda self: self.reference.enrolled)
    @rule(shared=SHARED, data=st.data())
    def remove_face(self, shared: int, data: st.DataObject) -> None:
        person = data.draw(st.sampled_from(sorted(self.reference.enrolled)))
        face = data.draw(st.sampled_from(sorted(self.reference.enrolled[person])))
        assert self.stores[shared].remove(person, face) == 1
        self.reference.remove(person, face)

    @rule(shared=SHARED, seed=SEEDS, k=st.sampled_from([1, 2, 7, 1000]))
    def search(self, shared: int, seed: int, k: int) -> None:
        probes = np.concatenate([faces(2, seed=seed), faces(1, seed=100 + seed)])
        self.reference.expect_found(self.stores[shared].search(probes, k), probes, k)

    @rule(shared=SHARED, person=PEOPLE, seed=SEEDS)
    def verify(self, shared: int, person: str, seed: int) -> None:
        probe = faces(1, seed=seed)[0]
        found = self.stores[shared].verify(person, probe, threshold=0.1)
        mine = [match for match in self.reference.matches(probe) if match.person == person]
        assert (found is None) == (not mine)
        if found is not None:
            assert abs(found.similarity - max(match.similarity for match in mine)) < TOLERANCE

    @rule(shared=SHARED)
    def open_again(self, shared: int) -> None:
        self.stores[shared].close()
        self.stores[shared] = open_store(self.place, create=False)

    @invariant()
    def all_is_there(self) -> None:
        if not hasattr(self, "stores"):
            return
        enrolled = self.reference.enrolled
        store = self.stores[next(_places) % 2]
        assert store.size() == StoreSize(people=len(enrolled), faces=sum(map(len, enrolled.values())))
        assert {person.name: person.faces for person in store.people()} == {
            name: len(rows) for name, rows in enrolled.items()
        }


@pytest.mark.parametrize("kind", PLACES)
def test_any_order(kind: str) -> None:
    machine = type("Machine", (AnyOrder,), {"make": staticmethod(PLACES[kind])})
    run_state_machine_as_test(
        machine,
        settings=hypothesis.settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        ),
    )
