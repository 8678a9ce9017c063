"""Galleries as files: what is written is read, what is damaged or strange is refused in words."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fuzz_galleries import KINDS, cases
from galleries import make_gallery, model
from messages import raises_naming

from efq.runtime.errors import IncompatibleArtifactError, InputError, SchemaError
from efq.runtime.gallery.files import read_gallery
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.npz import write_gallery
from efq.runtime.gallery.record import EmbeddingModel, GalleryRecord, Origin, SearchedBy

BOUND = SearchedBy(
    model=model("new"), thresholds={"1e-4": 0.31}, deployed={"0.36": 0.35}, certificate_sha256="c" * 64, statement="so"
)
ORIGIN = Origin(kind="map", model=model("first", size=7), figures={"cosine": 0.9, "folds": [1, 2]})


def with_record(gallery: Gallery, **changes: object) -> Gallery:
    return dataclasses.replace(gallery, record=dataclasses.replace(gallery.record, **changes))  # type: ignore[arg-type]


def equal(one: Gallery, two: Gallery) -> bool:
    arrays = (
        (one.embeddings, two.embeddings),
        (one.people, two.people),
        (one.faces, two.faces),
        (one.hashes, two.hashes),
    )
    return one.record == two.record and all(np.array_equal(*pair) for pair in arrays)


def test_what_is_written_is_read_and_has_the_same_bytes(tmp_path: Path) -> None:
    gallery = with_record(make_gallery(), searched_by=BOUND, origin=ORIGIN)
    gallery = dataclasses.replace(gallery, hashes=np.array(["", *["d" * 64] * 23]))
    for name in ("one.npz", "two.npz"):
        write_gallery(tmp_path / name, gallery)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert equal(read_gallery(tmp_path / "one.npz"), gallery)
    assert equal(read_gallery(tmp_path / "one.npz", model=gallery.record.model), gallery)
    with raises_naming(InputError, tmp_path / "one.npz", "new"):
        read_gallery(tmp_path / "one.npz", model=model("new"))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numbers_of_every_width_become_unit_rows(dtype: type[np.floating], tmp_path: Path) -> None:
    gallery = make_gallery()
    np.savez_compressed(
        tmp_path / "g.npz",
        embeddings=np.asfortranarray(gallery.embeddings.astype(dtype)),
        people=gallery.people.astype(">U9"),
        faces=gallery.faces,
        record=np.array(gallery.record.to_json()),
    )
    found = read_gallery(tmp_path / "g.npz")
    assert found.embeddings.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.embeddings, axis=1), 1, atol=2e-7)
    np.testing.assert_allclose(found.embeddings, gallery.embeddings, atol=1e-3)
    assert found.people.tolist() == gallery.people.tolist()


def test_arrays_that_do_not_fit_are_refused() -> None:
    gallery = make_gallery()
    rows, people, faces, record = gallery.embeddings, gallery.people, gallery.faces, gallery.record
    doubled = faces.copy()
    doubled[5] = doubled[7]
    strange = [
        (np.full_like(rows, np.nan), people, faces),
        (rows * 0, people, faces),
        (rows * 3, people, faces),
        (rows[:, :8], people, faces),
        (rows[0], people, faces),
        (rows.astype(np.int64), people, faces),
        (rows, people[1:], faces),
        (rows, people.reshape(4, 6), faces),
        (rows, np.where(people == "p3", "", people), faces),
        (rows, np.where(people == "p3", "a\x1b[31m", people), faces),
        (rows, people, doubled),
        (rows, people, np.array([f"{face}{'a' * 1024}" for face in faces])),
    ]
    for embeddings, names_, crops in strange:
        with pytest.raises(InputError):
            Gallery.of(embeddings, names_, crops, record)
    with pytest.raises(InputError):
        Gallery.of(rows, people, faces, record, hashes=["A" * 64] * len(people))
    with raises_naming(InputError, "p2/1.png", 2):
        Gallery.of(rows, people, doubled, record)


def test_probes_of_another_model_need_a_certificate() -> None:
    record = make_gallery().record
    record.check_probes(model("old"))
    with raises_naming(IncompatibleArtifactError, "old", "new"):
        record.check_probes(model("new"))
    dataclasses.replace(record, searched_by=BOUND).check_probes(model("new"))
    with pytest.raises(IncompatibleArtifactError):
        dataclasses.replace(record, searched_by=BOUND).check_probes(model("third"))
    nobody = EmbeddingModel(sha256=None, name="a dump", embedding_size=32)
    with pytest.raises(IncompatibleArtifactError):
        GalleryRecord(model=nobody).check_probes(nobody)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema_version": 2, "model": {}, "searched_by": null, "origin": null}',
        GalleryRecord(model=model()).to_json().replace("null", "3"),
        GalleryRecord(model=model()).to_json().replace('"old"', '"\\u001b"'),
        GalleryRecord(model=model()).to_json().replace("32", "-1"),
        GalleryRecord(model=model()).to_json().replace("32", "true"),
        GalleryRecord(model=model(), searched_by=BOUND).to_json().replace("0.31", "31"),
        GalleryRecord(model=model(), origin=ORIGIN).to_json().replace('"map"', '"magic"'),
    ],
)
def test_records_that_do_not_fit_are_refused(text: str) -> None:
    with pytest.raises(SchemaError):
        GalleryRecord.from_json(text)


TABLES = {
    "person,face,e0,e1\nann,a/1.png,3,4\nbob,b/1.png,-1,0\n": ["a/1.png", "b/1.png"],
    "id;name;embedding\n7;ann;[3, 4]\n8;bob;[-2, 0e3]\n": ["0", "1"],
    "﻿Embedding\tPath\tIdentity\r\n{3,4}\ta/1.png\tann\r\n{-1,0}\tb/1.png\tbob\r\n": ["a/1.png", "b/1.png"],
    'label,vector,crop\nann,"[0.6,0.8]",x\nbob,"[-1,0]",y': ["x", "y"],
    "e1,e0,subject\n4,3,ann\n\n0,-5,bob\n": ["0", "1"],
    "\nperson ,face ,dim_0,dim_1\nann , a.png,3, 4\nbob ,b.png ,-1e0,0\n": ["a.png", "b.png"],
}


@pytest.mark.parametrize(("text", "faces"), TABLES.items())
def test_tables_as_databases_write_them(text: str, faces: list[str], tmp_path: Path) -> None:
    (tmp_path / "dump.csv").write_text(text, encoding="utf-8", newline="")
    gallery = read_gallery(tmp_path / "dump.csv")
    assert gallery.people.tolist() == ["ann", "bob"]
    assert gallery.faces.tolist() == faces
    np.testing.assert_allclose(gallery.embeddings, [[0.6, 0.8], [-1, 0]], atol=1e-7)
    assert gallery.record.model.sha256 is None
    assert read_gallery(tmp_path / "dump.csv", model=model(size=2)).record.model == model(size=2)
    with pytest.raises(InputError):
        read_gallery(tmp_path / "dump.csv", model=model(size=3))


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "dump.csv"),
        ("person,face,e0,e1\n", "rows"),
        ("person,e0,e0\na,1,2\n", "twice"),
        ("person,e0,e2\na,1,2\n", "names"),
        ("face,e0,e1\na,1,2\n", "names"),
        ("person,e0,embedding\na,1,[1]\n", "names"),
        ("person,e0,e1\na,1,2\nb,1\n", 3),
        ("person,e0,e1\na,1,2\nb,1,x\n", 3),
        ("person,e0,e1\na,1,2\nb,1,nan\n", 3),
        ("person,e0,e1\na,1,2\nb,0,0\n", 2),
        ('person,embedding\na,"[1,2]"\nb,"[1]"\n', 3),
        ('person,embedding\na,"[1,[2]]"\n', 2),
        ('person,embedding\na,"[1,true]"\n', 2),
        ('person,embedding\na,"__import__(1)"\n', 2),
        ("person,face,e0\na,x,1\nb,x,1\n", "once"),
        ("person,e0\n,1\n", 2),
        ('person,e0\n"a\nb",1\n', "people"),
        ("person,e0\na,1\0\n", "binary"),
        ("person,e0,e1,d0,d1\na,1,2,3,4\n", "names"),
        ("person,e0,e1,d1\na,1,2,3\n", "names"),
        ("person,e0,e1,e01\na,1,2,3\n", "names"),
        ("person,e0,e1\na,1,2\nb,1,1_0\n", "1_0"),
        ("person,e0,e1\na,1,2\nb,1,\u0661\n", 3),
        ("person;e0;e1\na;1;0,5\n", "0,5"),
        ("person,e0\na,1e300\n", "row"),
        ("person,e0\n  ,1\n", 2),
    ],
)
def test_tables_that_do_not_fit_name_the_line(text: str, fact: object, tmp_path: Path) -> None:
    (tmp_path / "dump.csv").write_text(text)
    with raises_naming(InputError, fact):
        read_gallery(tmp_path / "dump.csv")


def test_strange_archives_are_refused(tmp_path: Path) -> None:
    gallery = make_gallery()
    path = tmp_path / "g.npz"
    arrays = {"embeddings": gallery.embeddings, "people": gallery.people, "faces": gallery.faces}
    record = np.array(gallery.record.to_json())
    np.savez(path, **arrays)
    with raises_naming(InputError, path, "efq-embed"):
        read_gallery(path)
    np.savez(path, **arrays, record=record, secret=record)
    with raises_naming(InputError, "'secret'"):
        read_gallery(path)
    np.savez(path, **arrays | {"people": gallery.people.astype(object)}, record=record, allow_pickle=True)
    with raises_naming(InputError, path):
        read_gallery(path)
    path.write_bytes(bomb(b"{'descr': '<f4', 'fortran_order': False, 'shape': (40000000, 65536)}"))
    with raises_naming(InputError, path):
        read_gallery(path)
    path.write_bytes(bomb(b"{'descr': '<f4', 'fortran_order': False, 'shape': (4000000, 512)}"))
    with raises_naming(InputError, path):
        read_gallery(path)
    path.write_bytes(b"\x89HDF\r\n\x1a\n")
    with raises_naming(InputError, path):
        read_gallery(path)
    with raises_naming(InputError, tmp_path):
        read_gallery(tmp_path)


def bomb(header: bytes) -> bytes:
    """An archive whose array says that it is large, and of which little is there."""
    content = b"\x93NUMPY\1\0" + len(header + b"\n").to_bytes(2, "little") + header + b"\n" + bytes(1 << 20)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("embeddings.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    """In short: python tests/scripts/fuzz_galleries.py goes on."""
    found = dict(cases(kind, 200, 0, tmp_path))
    assert set(found.values()) <= {"read", "refused"}, [case for case in found.items() if case[1].startswith("HOLE")]
    assert "refused" in found.values()
