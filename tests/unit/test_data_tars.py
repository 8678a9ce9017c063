"""Tars of images as tar, Python and WebDataset write them, and what is wrong with those that others wrote."""

from __future__ import annotations

import gzip
import io
import logging
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import FACE, image_file
from messages import names, raises_naming
from networks import write_faces
from packed_faces import faces_of, folder_members, webdataset_members, write_tar

from efq.runtime.errors import InputError
from efq.toolchain.data import open_faces, open_source
from efq.toolchain.data.sources.folder import FolderSource

JPEG, BMP = image_file("jpeg", FACE[:16, :16]), image_file("bmp", FACE[:4, :4])
KINDS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
FACES = {"ann": {"1.jpg": JPEG, "2.bmp": BMP}, "bob": {"1.jpg": BMP}}


def header(name: bytes, size: bytes, kind: bytes = b"0", magic: bytes = b"", **fields: bytes) -> bytearray:
    """By hand, in the form of Unix V7 unless `magic` is another; the size in octal digits."""
    block = bytearray(512)
    block[: len(name)], block[100:107], block[124:136] = name, b"0000644", size.rjust(11, b"0") + b"\0"
    block[156:157], block[257 : 257 + len(magic)] = kind, magic
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    return block


def member(name: bytes, data: bytes = JPEG, **fields: bytes) -> bytes:
    return bytes(header(name, b"%o" % len(data), **fields)) + data + bytes(-len(data) % 512)


def by_hand(path: Path, *members: bytes, end: bytes = bytes(1024)) -> Path:
    path.write_bytes(b"".join(members) + end)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_faces_as_in_the_folder(tmp_path: Path, kind: str) -> None:
    folder = open_faces(write_faces(tmp_path / "faces"), cache=False)
    faces = faces_of(tmp_path / "faces")
    for members in (folder_members(faces), webdataset_members(faces)):
        found = open_faces(write_tar(tmp_path / "packed.tar", members, kind=KINDS[kind]), cache=False)
        assert found.source == str(tmp_path / "packed.tar")
        assert found.hashes == folder.hashes
        assert found.labels.tolist() == folder.labels.tolist()
        assert np.array_equal(found.images, folder.images)


@pytest.mark.parametrize("kind", KINDS)
def test_names_and_bytes_are_those_that_python_finds(tmp_path: Path, kind: str) -> None:
    members = {f"{'d' * count}/{'é' * (1 + count // 3)}/{count}.jpg": BMP + bytes(count) for count in (1, 40, 99)}
    members |= {f"{'d' * 80}/{'e' * 60}/x.jpg": BMP}
    if kind != "ustar":
        members |= {f"{'d' * 300}/{'f' * 200}/y.jpg": BMP}
    path = write_tar(tmp_path / "faces.tar", members, kind=KINDS[kind])
    source = open_source(path)
    with tarfile.open(path) as archive:
        keys = tuple(sorted(archive.getnames(), key=lambda name: name.split("/")))
        assert source.keys() == keys
        assert all((file := archive.extractfile(key)) and file.read() == source.read(key) for key in keys)


def test_headers_of_old_forms(tmp_path: Path) -> None:
    members = [member(b"ann/", b"", kind=b"\0"), member(b"./ann//1.jpg", kind=b"\0"), member(b"ann/2.jpg", kind=b"7")]
    large = bytearray(header(b"bob/3.jpg", b"0", magic=b"ustar  \0"))
    large[124:136] = b"\x80" + len(JPEG).to_bytes(11, "big")
    signed = bytearray(header(b"bob/\xc3\xa9.jpg", b"%o" % len(JPEG)))
    for block, total in ((large, sum), (signed, lambda data: sum(byte - 256 * (byte > 127) for byte in data))):
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % total(block)
        members.append(bytes(block) + JPEG + bytes(-len(JPEG) % 512))
    source = open_source(by_hand(tmp_path / "old.tar", *members))
    assert source.keys() == ("ann/1.jpg", "ann/2.jpg", "bob/3.jpg", "bob/é.jpg")
    assert {source.read(key) for key in source.keys()} == {JPEG}  # noqa: SIM118


SAMPLES: dict[str, tuple[dict[str, bytes], dict[str, str]]] = {
    "numbers": (
        {"a.jpg": JPEG, "a.cls": b"12\n", "b.png": BMP, "b.cls": b"3"},
        {"a.jpg": "00000012", "b.png": "00000003"},
    ),
    "names": (
        {"a.jpg": JPEG, "a.cls": "José".encode(), "b.jpg": JPEG, "b.cls": b"7a"},
        {"a.jpg": "José", "b.jpg": "7a"},
    ),
    "json": (
        {"a.jpg": JPEG, "a.json": b'{"label": 4}', "b.jpg": JPEG, "b.json": b'{"x": 1, "identity": "ann", "label": 4}'},
        {"a.jpg": "00000004", "b.jpg": "ann"},
    ),
    "label first": (
        {"x/a.cls": b"1", "x/a.jpg": JPEG, "y/a.jpg": JPEG, "y/a.cls": b"2"},
        {"x/a.jpg": "00000001", "y/a.jpg": "00000002"},
    ),
    "several images": (
        {"a.cls": b"1", "a.front.jpg": JPEG, "a.side.jpg": BMP},
        {"a.front.jpg": "00000001", "a.side.jpg": "00000001"},
    ),
    "names with dots": (
        {"a.1.jpg": JPEG, "a.1.cls": b"1", "a.2.jpg": JPEG, "a.2.cls": b"2"},
        {"a.1.jpg": "00000001", "a.2.jpg": "00000002"},
    ),
    "text": ({"a.jpg": JPEG, "a.txt": b"ann", "b.jpg": JPEG, "b.txt": b"bob"}, {"a.jpg": "ann", "b.jpg": "bob"}),
    "captions": (
        {"ann/a.jpg": JPEG, "ann/a.txt": b"a face", "bob/b.jpg": JPEG, "bob/b.txt": b"a face"},
        {"ann/a.jpg": "ann", "bob/b.jpg": "bob"},
    ),
    "descriptions": ({"ann/a.jpg": JPEG, "ann/a.json": b'{"age": 3}'}, {"ann/a.jpg": "ann"}),
    "without label": (
        {"a.jpg": JPEG, "a.cls": b"1", "b.jpg": JPEG, "c.jpg": JPEG, "c.cls": b"-1"},
        {"a.jpg": "00000001"},
    ),
    "no labels": ({"a.jpg": JPEG, "a.cls": b"\xff", "a.json": b"[" * 99, "a.txt": b""}, {"a.jpg": ""}),
}


@pytest.mark.parametrize("case", SAMPLES)
def test_identities_of_samples(tmp_path: Path, case: str) -> None:
    members, identities = SAMPLES[case]
    source = open_source(write_tar(tmp_path / "samples.tar", members))
    assert {key: source.identity(key) for key in source.keys()} == identities  # noqa: SIM118


def test_images_without_a_label_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_source(write_tar(tmp_path / "samples.tar", SAMPLES["without label"][0])).keys()
    names(caplog.text, tmp_path / "samples.tar", "b.jpg", "c.jpg", 2)


LEFT_OUT: dict[str, bytes] = {
    "a hard link": member(b"x/1.jpg", b"", kind=b"1"),
    "a link": member(b"x/2.jpg", b"", kind=b"2"),
    "a device": member(b"x/3.jpg", b"", kind=b"3"),
    "a pipe": member(b"x/4.jpg", b"", kind=b"6"),
    "sparse": member(b"x/5.jpg", kind=b"S"),
    "of a vendor": member(b"x/6.jpg", kind=b"V"),
    "absolute": member(b"/x/7.jpg"),
    "leading out": member(b"x/../../8.jpg"),
    "no UTF-8": member(b"x/9\xff.jpg"),
    "hidden": member(b"x/.10.jpg"),
    "of a system": member(b"__MACOSX/x/11.jpg"),
    "no image": member(b"x/12.gif"),
    "sparse in pax": member(b"h", b"22 GNU.sparse.major=1\n", kind=b"x") + member(b"x/13.jpg"),
    "a text": member(b"x/14.jpg.part", b"15"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_no_face_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str) -> None:
    path = by_hand(tmp_path / "faces.tar", member(b"ann/1.jpg"), LEFT_OUT[case], member(b"ann/2.jpg"))
    source = open_source(path)
    with caplog.at_level(logging.INFO):
        assert source.keys() == ("ann/1.jpg", "ann/2.jpg")
    (said, _) = caplog.records  # and that folders name the people
    names(said.getMessage(), path, 1)
    assert said.levelno == (logging.INFO if case in ("hidden", "of a system") else logging.WARNING)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["faces.tar"]


def test_labels_that_are_none_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_tar(tmp_path / "samples.tar", {"a.jpg": JPEG, "a.cls": b"3", "b.jpg": JPEG, "b.cls": b"-1"})
    assert len(open_source(path).keys()) == 1
    names(caplog.text, path, "1 labels", "b.cls", "b.jpg")


def test_documents_are_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_source(write_tar(tmp_path / "a.tar", {**folder_members(FACES), "README.md": b"x", "ann/info.csv": b""})).keys()
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_last_file_of_a_name_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = by_hand(tmp_path / "faces.tar", member(b"ann/1.jpg", BMP), member(b"./ann/1.jpg", JPEG))
    source = open_source(path)
    assert [source.read(key) for key in source.keys()] == [JPEG]  # noqa: SIM118
    names(caplog.text, "ann/1.jpg")


@pytest.mark.parametrize("end", [b"", bytes(1024) + member(b"ann/2.jpg") + bytes(1024)])
def test_archives_that_may_not_be_whole_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, end: bytes) -> None:
    source = open_source(by_hand(tmp_path / "faces.tar", member(b"ann/1.jpg"), end=end))
    assert source.keys() == ("ann/1.jpg",)
    names(caplog.text, tmp_path / "faces.tar", "faces.tar")


def pax(record: bytes) -> bytes:
    return member(b"h", record, kind=b"x") + member(b"ann/2.jpg")


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut in a file": lambda data: data[: 512 + 100],
    "cut in a header": lambda data: data + data[:100],
    "no header": lambda data: data + b"x" * 512,
    "another checksum": lambda data: b"b" + data[1:],
    "a size of no digits": lambda data: data + bytes(header(b"x", b"12x")),
    "a size below zero": lambda data: data + bytes(header(b"x", b"\xff" * 11)),
    "a large size": lambda data: data + bytes(header(b"x.jpg", b"7" * 11)),
    "gigabytes of pax records": lambda data: data + bytes(header(b"x", b"7" * 11, kind=b"x")),
    "megabytes of pax records": lambda data: data + member(b"x", b"9" * (2 << 20), kind=b"x"),
    "a name of a megabyte": lambda data: data + member(b"x", b"9" * (1 << 20), kind=b"L"),
    "pax records that are none": lambda data: data + pax(b"path=x\n"),
    "a record of no length": lambda data: data + pax(b"0 path=x\n"),
    "a record that is too short": lambda data: data + pax(b"5 path=x\n"),
    "a record that is too long": lambda data: data + pax(b"99 path=x\n"),
    "a size in words": lambda data: data + pax(b"12 size=abc\n"),
    "a size beyond the end": lambda data: data + pax(b"19 size=9999999999\n"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_tars_are_refused(tmp_path: Path, case: str) -> None:
    path = by_hand(tmp_path / "faces.tar", DAMAGE[case](member(b"ann/1.jpg")), end=b"")
    with raises_naming(InputError, path, path.stat().st_size if path.stat().st_size < 1000 else path):
        open_source(path).keys()


@pytest.mark.parametrize("kind", [b"x", b"L"])
def test_headers_of_gigabytes_are_not_read(tmp_path: Path, kind: bytes) -> None:
    """In a file that is as large, and takes no room."""
    path = by_hand(tmp_path / "faces.tar", member(b"ann/1.jpg"), bytes(header(b"x", b"%o" % (3 << 30), kind=kind)))
    os.truncate(path, 4 << 30)
    with raises_naming(InputError, path, f"{3 << 30:,}"):
        open_source(path).keys()


def test_shards_are_read_as_one(tmp_path: Path) -> None:
    members = folder_members(FACES)
    for place, (name, data) in enumerate(members.items()):
        write_tar(tmp_path / f"faces-{place}.tar", {name: data})
    (tmp_path / "README.md").touch()
    source = open_source(tmp_path)
    assert source.name == str(tmp_path)
    assert {key: source.read(key) for key in source.keys()} == members  # noqa: SIM118


def test_shards_with_the_same_names_are_told_apart(tmp_path: Path) -> None:
    for shard, data in (("s0", JPEG), ("s1", BMP)):
        write_tar(tmp_path / f"{shard}.tar", {"ann/1.jpg": data, "bob/1.jpg": data})
    source = open_source(tmp_path)
    assert source.keys() == ("s0/ann/1.jpg", "s0/bob/1.jpg", "s1/ann/1.jpg", "s1/bob/1.jpg")
    assert source.read("s1/ann/1.jpg") == BMP
    with raises_naming(InputError, "--identity-level 2", "--identity-level leaf"):
        open_faces(source, resize=True, cache=False)


def test_a_tar_a_person(tmp_path: Path) -> None:
    for person in FACES:
        write_tar(tmp_path / f"{person}.tar", {f"{person}_1.jpg": JPEG})
    source = open_source(tmp_path)
    assert {key: source.identity(key) for key in source.keys()} == {"ann/ann_1.jpg": "ann", "bob/bob_1.jpg": "bob"}  # noqa: SIM118


def test_samples_of_the_same_numbers_in_shards(tmp_path: Path) -> None:
    for shard in ("s0", "s1"):
        write_tar(tmp_path / f"{shard}.tar", {"0.jpg": JPEG, "0.cls": shard[1:].encode()})
    source = open_source(tmp_path)
    assert [source.identity(key) for key in ("s0/0.jpg", "s1/0.jpg")] == ["00000000", "00000001"]


@pytest.mark.parametrize("beside", ["ann/1.jpg", "2.jpg"])
def test_a_folder_of_images_is_one_whatever_else_it_holds(tmp_path: Path, beside: str) -> None:
    write_tar(tmp_path / "faces.tar", folder_members(FACES))
    (tmp_path / beside).parent.mkdir(exist_ok=True)
    (tmp_path / beside).write_bytes(JPEG)
    assert isinstance(open_source(tmp_path), FolderSource)


def test_compressed_tars_are_refused_with_a_way_out(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "faces.tar", folder_members(FACES)).read_bytes()
    for name in ("a.tar.gz", "b.tgz", "c.tar"):
        (tmp_path / "shards").mkdir(exist_ok=True)
        path = tmp_path / "shards" / name
        path.write_bytes(gzip.compress(content))
        with raises_naming(InputError, path, f"gunzip {path}"):
            open_source(path)
        with raises_naming(InputError, f"gunzip {tmp_path / 'shards' / 'a.tar.gz'}"):
            open_source(tmp_path / "shards")


def test_files_that_are_no_tars(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    (tmp_path / "empty.tar").touch()
    (tmp_path / "text.tar").write_text("text" * 200)
    for name in ("pipe.tar", "text.tar", "missing.tar"):
        with raises_naming(InputError, tmp_path / name):
            open_source(tmp_path / name).keys()
    assert open_source(tmp_path / "empty.tar").keys() == ()


def test_a_tar_that_changes_is_no_longer_read(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "faces.tar", folder_members(FACES))
    source = open_source(path)
    key = source.keys()[0]
    write_tar(path, {"ann/1.jpg": BMP})
    for use in (source.read, source.fingerprint):
        with raises_naming(InputError, path):
            use(key)
    with raises_naming(InputError, "x.jpg"):
        source.read("x.jpg")


def test_a_tar_in_a_stream_of_blocks(tmp_path: Path) -> None:
    """As `tar --blocking-factor` and Python's streams fill it up."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w|", bufsize=512 * 64) as archive:
        entry = tarfile.TarInfo("ann/1.jpg")
        entry.size = len(JPEG)
        archive.addfile(entry, io.BytesIO(JPEG))
    (tmp_path / "faces").write_bytes(buffer.getvalue())
    assert open_source(tmp_path / "faces").keys() == ("ann/1.jpg",)
