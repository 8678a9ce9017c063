"""What every store of enrolled people does, whatever database is behind it: one suite for all."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from galleries import draw_embeddings, make_gallery, model
from messages import raises_naming
from store_reference import Reference
from stores import MODEL, PLACES, SIZE, faces, near, open_store

from efq.runtime.errors import IncompatibleArtifactError, InputError, UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord, SearchedBy
from efq.runtime.gallery.stores.open import open_gallery
from efq.runtime.gallery.stores.store import GalleryStore, StoreSize, Template

TEMPLATES: tuple[Template, ...] = ("best", "mean", "all")


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return PLACES[request.param](tmp_path)


@pytest.fixture
def store(place: str) -> Iterator[GalleryStore]:
    with open_store(place) as opened:
        yield opened


def fill(store: GalleryStore, people: int = 20, each: int = 3, *, seed: int = 0) -> Reference:
    reference = Reference(template=store.template)
    rows, labels = draw_embeddings(people, each, size=SIZE, seed=seed)
    for person in range(people):
        mine = rows[labels == person]
        names = [f"p{person}/{place}.png" for place in range(each)]
        assert store.enroll(f"p{person}", mine, faces=names) == tuple(names)
        reference.enroll(f"p{person}", mine, names)
    return reference


def test_who_is_enrolled_is_found(store: GalleryStore) -> None:
    rows = faces(3, seed=1)
    (first,) = store.enroll("Ada", rows[:1])
    others = store.enroll("Grace", rows[1:], faces=["g/1", "g/2"], hashes=["a" * 64, ""])
    assert others == ("g/1", "g/2")
    assert len(first) == 32
    assert store.size() == StoreSize(people=2, faces=3)
    ((match,),) = store.search(near(rows[0])[None])
    assert (match.person, match.face) == ("Ada", first)
    assert match.similarity == pytest.approx(float(near(rows[0]) @ rows[0]), abs=1e-6)
    assert store.faces_of("Grace") == ("g/1", "g/2")
    assert store.faces_of("nobody") == ()


def test_an_empty_gallery_answers(store: GalleryStore) -> None:
    assert store.size() == StoreSize(people=0, faces=0)
    assert store.search(faces(2, seed=0), 3) == [(), ()]
    assert store.verify("Ada", faces(1, seed=0)[0], threshold=0) is None
    assert store.people() == []
    assert list(store.export()) == []
    assert store.remove("Ada") == 0
    store.check()


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("k", [1, 5, 1000])
def test_search_is_exact(place: str, template: Template, k: int) -> None:
    with open_store(place, template=template) as store:
        reference = fill(store)
        probes, _ = draw_embeddings(20, 1, size=SIZE, spread=1.0, seed=5)
        reference.expect_found(store.search(probes, k), probes, k)
        reference.expect_found(store.search(probes[:1], k), probes[:1], k)


@pytest.mark.parametrize("template", TEMPLATES)
def test_equal_ones_are_ordered_by_name(place: str, template: Template) -> None:
    row = np.repeat(faces(1, seed=0), 2, axis=0)
    with open_store(place, template=template) as store:
        for person in ("b", "a", "é", "B"):
            store.enroll(person, row, faces=[f"{person}2", f"{person}1"])
        found = store.search(row[:1], 3)[0]
    if template == "all":
        assert [match.face for match in found] == ["B1", "B2", "a1"]
    else:
        assert [match.person for match in found] == ["B", "a", "b"]
        assert [match.face for match in found] == (["B1", "a1", "b1"] if template == "best" else [None] * 3)


@pytest.mark.parametrize("template", TEMPLATES)
def test_verify(place: str, template: Template) -> None:
    rows = faces(2, seed=3)
    probe = near(rows[0])
    with open_store(place, template=template) as store:
        store.enroll("Ada", rows)
        mean = rows.astype(np.float64).sum(axis=0)
        cosines = [float(probe @ row) for row in rows] if template != "mean" else [probe @ mean / np.linalg.norm(mean)]
        found = store.verify("Ada", probe, fmr=1e-3)
        assert found is not None
        assert (found.threshold, found.accepted) == (0.5, max(cosines) > 0.5)
        assert found.similarity == pytest.approx(max(cosines), abs=1e-6)
        assert store.verify("Grace", probe, fmr=1e-3) is None
        refused = store.verify("Ada", probe, threshold=1.0)
        assert refused is not None
        assert not refused.accepted
        with pytest.raises(UsageError):
            store.verify("Ada", probe)
        with raises_naming(UsageError, "1e-09"):
            store.verify("Ada", probe, fmr=1e-9)


def test_a_threshold_keeps_strangers_out(store: GalleryStore) -> None:
    rows = faces(2, seed=3)
    store.enroll("Ada", rows[:1])
    assert store.search(rows, threshold=0.99)[0][0].person == "Ada"
    assert store.search(rows, threshold=0.99)[1] == ()
    assert store.search(rows, fmr=1e-2) == store.search(rows, threshold=0.25)
    with pytest.raises(UsageError):
        store.search(rows, threshold=0.5, fmr=1e-2)
    with raises_naming(UsageError, 0):
        store.search(rows, 0)
    with raises_naming(UsageError, 1.5):
        store.search(rows, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("template", TEMPLATES)
def test_removed_and_enrolled_again(place: str, template: Template) -> None:
    with open_store(place, template=template) as store:
        reference = fill(store)
        probes, _ = draw_embeddings(20, 1, size=SIZE, seed=6)
        for person in ("p3", "p7"):
            assert store.remove(person) == 3
            reference.remove(person)
        assert store.remove("p8", "p8/1.png") == 1
        assert store.remove("p8", "p9/1.png") == 0
        reference.remove("p8", "p8/1.png")
        reference.expect_found(store.search(probes, 4), probes, 4)
        assert store.size() == StoreSize(people=18, faces=53)
        assert store.remove("p3") == 0
        again = faces(2, seed=8)
        reference.enroll("p3", again, store.enroll("p3", again))
        reference.expect_found(store.search(again, 4), again, 4)
        for face in store.faces_of("p8"):
            assert store.remove("p8", face) == 1
        reference.remove("p8")
        assert "p8" not in [person.name for person in store.people()]
        reference.expect_found(store.search(probes, 100), probes, 100)


@pytest.mark.parametrize("template", TEMPLATES)
def test_all_is_there_when_opened_again(place: str, template: Template) -> None:
    with open_store(place, template=template) as store:
        reference = fill(store)
        store.remove("p1")
        reference.remove("p1")
        people = store.people()
    probes, _ = draw_embeddings(20, 1, size=SIZE, seed=2)
    with open_store(place, create=False) as store:
        assert store.template == template
        assert store.record.model == MODEL
        reference.expect_found(store.search(probes, 3), probes, 3)
        assert store.people() == people


def test_people_are_listed_in_pages(store: GalleryStore) -> None:
    names = sorted(f"p{place}é" for place in range(23))
    for seed, name in enumerate(names):
        store.enroll(name, faces(1 + seed % 2, seed=seed))
    listed: list[str] = []
    while page := store.people(after=listed[-1] if listed else "", limit=5):
        assert len(page) <= 5
        listed += [person.name for person in page]
        assert all(person.faces == 1 + names.index(person.name) % 2 for person in page)
        assert all(person.enrolled.endswith("Z") and len(person.enrolled) == 20 for person in page)
    assert listed == names


def test_exported_and_added_elsewhere(store: GalleryStore, tmp_path: Path) -> None:
    fill(store)
    parts = list(store.export())
    assert sum(len(part) for part in parts) == 60
    people = [name for part in parts for name in part.people.tolist()]
    assert people == sorted(people)
    (tmp_path / "other").mkdir()
    with open_store(PLACES["sqlite"](tmp_path / "other")) as other:
        assert sum(other.add(part) for part in parts) == 60
        probes, _ = draw_embeddings(20, 1, size=SIZE, seed=9)
        assert other.search(probes, 5) == store.search(probes, 5)
        copies = list(other.export())
        for name in ("embeddings", "people", "faces", "hashes"):
            mine, theirs = (np.concatenate([getattr(part, name) for part in one]) for one in (parts, copies))
            assert (mine == theirs).all()


def test_a_face_is_enrolled_once(store: GalleryStore) -> None:
    rows = faces(4, seed=0)
    store.enroll("Ada", rows[:1], faces=["one"])
    with pytest.raises(InputError):
        store.enroll("Grace", rows[1:3], faces=["two", "one"])
    with pytest.raises(InputError):
        store.enroll("Ada", rows[1:2], faces=["one"])
    with pytest.raises(InputError):
        store.enroll("Grace", rows[1:3], faces=["two", "two"])
    assert store.size() == StoreSize(people=1, faces=1)
    assert store.faces_of("Grace") == ()
    store.enroll("Grace", rows[1:2], faces=["two"])
    assert store.search(rows[:1], 5)[0][0].face == "one"


def test_another_model_is_refused(place: str) -> None:
    with open_store(place) as store:
        store.enroll("Ada", faces(1, seed=0))
        with pytest.raises(IncompatibleArtifactError):
            store.add(make_gallery(2, 2, name="other", size=SIZE))
        with raises_naming(InputError, SIZE, 8):
            store.enroll("Ada", faces(1, seed=1, size=8))
        with raises_naming(InputError, SIZE, 8):
            store.search(faces(1, seed=1, size=8))
    with pytest.raises(IncompatibleArtifactError):
        open_gallery(place, model("other", size=SIZE))
    with raises_naming(UsageError, "best", "mean"):
        open_store(place, template="mean")


def test_another_model_may_search_where_a_certificate_says_so(place: str) -> None:
    other = model("other", size=SIZE)
    bound = SearchedBy(
        model=other, thresholds={"1e-3": 0.4}, deployed={}, certificate_sha256="c" * 64, statement="compatible"
    )
    with raises_naming(IncompatibleArtifactError, "other"):
        open_gallery(place, other, record=GalleryRecord(model=MODEL))
    record = GalleryRecord(model=MODEL, searched_by=bound)
    rows = faces(2, seed=0)
    with open_gallery(place, other, record=record) as store:
        assert store.add(Gallery.of(rows, ["Ada", "Grace"], ["a", "g"], record)) == 2
        assert store.record == record
        assert store.search(rows)[1][0].person == "Grace"
        with pytest.raises(IncompatibleArtifactError):
            store.enroll("Ada", rows)
    with open_gallery(place, other, create=False) as store:
        assert store.search(rows)[0][0].person == "Ada"
    with open_store(place) as store:
        store.enroll("Ada", faces(1, seed=3))
    with pytest.raises(IncompatibleArtifactError):
        open_gallery(place, model("third", size=SIZE))


def test_nothing_is_made_unless_asked_for(place: str) -> None:
    with pytest.raises(UsageError):
        open_store(place, create=False)
    open_store(place).close()
    open_store(place, create=False).close()


@pytest.mark.parametrize("name", ["", "a\nb", "\0", "Ada\0", "x" * 1025, "\ud800"])
def test_names_that_are_none(store: GalleryStore, name: str) -> None:
    row = faces(1, seed=0)
    calls = (
        lambda: store.enroll(name, row),
        lambda: store.enroll("Ada", row, faces=[name]),
        lambda: store.remove(name),
        lambda: store.verify(name, row[0], threshold=0),
    )
    for call in calls:
        with pytest.raises(InputError):
            call()
    assert store.size().faces == 0


@pytest.mark.parametrize("name", ["Ada Lovelace", "'; DROP TABLE people; --", "日本", "x" * 1024, " ", "%", "e\u0301"])
def test_names_of_any_kind(store: GalleryStore, name: str) -> None:
    row = faces(1, seed=0)
    store.enroll(name, row, faces=[name])
    assert store.search(row)[0][0].person == name
    assert [person.name for person in store.people()] == [name]
    assert store.faces_of(name) == (name,)
    assert store.remove(name, name) == 1


def test_embeddings_that_are_none(store: GalleryStore) -> None:
    row = faces(1, seed=0)
    for bad in (row * 2, row * np.float32(np.nan), row * 0, row[0], row.astype(np.int8), row[:0]):
        with pytest.raises(InputError):
            store.enroll("Ada", bad)
        with pytest.raises(InputError):
            store.search(bad)
    assert store.size().faces == 0


def test_several_stores_on_one_place(place: str) -> None:
    rows = faces(3, seed=0)
    with open_store(place) as one, open_store(place) as other:
        one.enroll("Ada", rows[:1])
        assert other.search(rows[:1])[0][0].person == "Ada"
        other.enroll("Grace", rows[1:2])
        assert one.search(rows[1:2])[0][0].person == "Grace"
        assert one.remove("Ada") == 1
        assert other.search(rows[:1])[0][0].person == "Grace"
        assert other.verify("Ada", rows[0], threshold=0) is None
        assert other.size() == StoreSize(people=1, faces=1)


def test_threads(store: GalleryStore) -> None:
    rows = faces(64, seed=0)

    def work(thread: int) -> None:
        for place in range(thread * 8, thread * 8 + 8):
            store.enroll(f"p{place}", rows[place : place + 1])
            assert store.search(rows[place : place + 1])[0][0].person == f"p{place}"
            if place % 4 == 3:
                assert store.remove(f"p{place}") == 1
                assert f"p{place}" not in [match.person for match in store.search(rows[place : place + 1], 64)[0]]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert store.size() == StoreSize(people=48, faces=48)


def test_closed(place: str) -> None:
    store = open_store(place)
    store.close()
    store.close()
    calls = (
        lambda: store.search(faces(1, seed=0)),
        lambda: store.enroll("Ada", faces(1, seed=0)),
        lambda: store.remove("Ada"),
        store.size,
        store.people,
        store.check,
        lambda: list(store.export()),
    )
    for call in calls:
        with pytest.raises(UsageError):
            call()


def test_an_export_of_many_is_whole(store: GalleryStore) -> None:
    rows, _ = draw_embeddings(3000, 1, size=SIZE)
    names = [f"{place:05}" for place in range(3000)]
    store.add(Gallery.of(rows, names, names, GalleryRecord(model=MODEL)))
    seen = [name for part in store.export() for name in part.people.tolist()]
    assert seen == names


@pytest.mark.parametrize(
    "value", ["0.5", b"0.5", True, np.True_, float("nan"), [0.5], np.array([0.5, 0.5]), 1j], ids=repr
)
def test_thresholds_and_rates_are_numbers(store: GalleryStore, value: Any) -> None:
    row = faces(1, seed=1)
    store.enroll("Ada", row)
    for options in ({"threshold": value}, {"fmr": value}):
        with pytest.raises(UsageError, match="expected a"):
            store.verify("Ada", row[0], **options)
        with pytest.raises(UsageError, match="expected a"):
            store.search(row, **options)
    for call in (lambda: store.search(row, value), lambda: store.people(limit=value)):
        with pytest.raises(UsageError, match="expected to"):
            call()


def test_numbers_of_numpy_are_taken(store: GalleryStore) -> None:
    row = faces(1, seed=1)
    store.enroll("Ada", row)
    for threshold in (np.float64(0.5), np.float32(0.5), np.int64(0)):
        found = store.verify("Ada", row[0], threshold=threshold)  # type: ignore[arg-type]
        assert found is not None
        assert (found.accepted is True, type(found.threshold)) == (True, float)
    assert store.search(row, np.int64(1), fmr=np.float64(1e-2))[0][0].person == "Ada"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 0, b"Ada", ["Ada"]], ids=repr)
def test_names_that_are_no_text(store: GalleryStore, name: Any) -> None:
    row = faces(1, seed=1)
    store.enroll("0", row)
    calls: list[Callable[[], object]] = [
        lambda: store.faces_of(name),
        lambda: store.verify(name, row[0], threshold=0),
        lambda: store.remove(name),
        lambda: store.enroll(name, row),
    ]
    for call in calls:
        with pytest.raises(InputError):
            call()
    assert store.size() == StoreSize(people=1, faces=1)


def test_a_list_of_faces_is_no_text(store: GalleryStore) -> None:
    rows = faces(2, seed=1)
    for given in ("ab", 5, ["a", 1], [None, None]):
        with pytest.raises(InputError, match="as faces of the gallery"):
            store.enroll("Ada", rows, faces=given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="expected embeddings"):
        store.enroll("Ada", [rows[0], rows[1][:3]])  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a Gallery"):
        store.add("gallery.npz")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected a name to list people after"):
        store.people(after=None)  # type: ignore[arg-type]
    assert store.size() == StoreSize(people=0, faces=0)
