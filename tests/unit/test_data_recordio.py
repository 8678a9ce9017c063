"""RecordIO files as MXNet and InsightFace write them, and what is wrong with those that others wrote."""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from image_files import FACE, image_file
from messages import names, raises_naming
from networks import write_faces
from packed_faces import MAGIC, faces_of, framed, insightface_records, packed, write_recordio, write_records

from efq.runtime.errors import InputError
from efq.toolchain.data import open_faces, open_source

JPEG = image_file("jpeg", FACE[:16, :16])
STARTS = [b"\xff\xd8\xff" + bytes(range(count)) for count in range(6)]
WITH_MAGIC = [
    MAGIC,
    MAGIC * 3,
    b"\xff\xd8" + MAGIC + b"\0\0" + MAGIC,
    b"\xff\xd8\xff\0" + MAGIC + b"abc",
    b"\xff\xd8\xff\0" + MAGIC * 2 + b"a" * 8,
]
# SHA-256 of what mxnet.recordio.MXIndexedRecordIO and pack of MXNet 1.9.1 wrote of these records.
BY_MXNET = {
    "train.rec": "1892431e00f6894e36b5dcf288e6d2487f274d338e00a7be702d908119a7e6e4",
    "train.idx": "85a5dfee65f2d0835a78e874f159cb59e77cb038ecf355668aea8efc46ce94c1",
    "plain.rec": "96f285d469a6f626016b14b912f7372019239a8ab52ea60623e2f8c82057f07e",
    "plain.idx": "b56e0bd5eaa4ea28f457f560287a7b2116da06f3e505d697543b81c02a142ca8",
}


def plain(images: Sequence[bytes], labels: Sequence[float]) -> list[tuple[int, bytes]]:
    return [(place, packed(data, label, place)) for place, (data, label) in enumerate(zip(images, labels, strict=True))]


def test_files_are_those_of_mxnet_and_read_to_the_byte(tmp_path: Path) -> None:
    images = STARTS + WITH_MAGIC
    write_records(tmp_path / "train.rec", insightface_records({"a": images[:5], "b": images[5:]}))
    write_records(tmp_path / "plain.rec", plain(images, [place // 3 for place in range(11)]))
    assert {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in BY_MXNET} == BY_MXNET
    for name, first, labels in (("train.rec", 1, [0] * 5 + [1] * 6), ("plain.rec", 0, [p // 3 for p in range(11)])):
        source = open_source(tmp_path / name)
        kept = [place for place, data in enumerate(images) if data.startswith(b"\xff\xd8\xff")]
        keys = source.keys()
        assert keys == tuple(f"{labels[place]:08d}/{place + first:08d}.jpg" for place in kept)
        assert [source.read(key) for key in keys] == [images[place] for place in kept]


def test_a_record_by_hand(tmp_path: Path) -> None:
    """Label 7.0, id 5; an image of 5 bytes, filled up to 8."""
    text = "0a23d7ce 1d000000 00000000 0000e040 0500000000000000 0000000000000000 424d010203 000000"
    (tmp_path / "a.rec").write_bytes(bytes.fromhex(text.replace(" ", "")))
    source = open_source(tmp_path / "a.rec")
    assert source.keys() == ("00000007/00000005.bmp",)
    assert (source.identity(source.keys()[0]), source.read(source.keys()[0])) == ("00000007", b"BM\1\2\3")


def test_the_same_faces_as_in_the_folder(tmp_path: Path) -> None:
    folder = open_faces(write_faces(tmp_path / "faces"), cache=False)
    written = write_recordio(tmp_path / "packed", faces_of(tmp_path / "faces"))
    for path in (written, written / "train.rec"):
        found = open_faces(path, cache=False)
        assert found.source == str(written / "train.rec")
        assert found.hashes == folder.hashes
        assert found.labels.tolist() == folder.labels.tolist()
        assert np.array_equal(found.images, folder.images)
    (written / "train.idx").unlink()
    assert open_source(written).keys() == found.paths


def test_an_index_that_is_a_part_takes_a_part(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.rec", plain([JPEG] * 4, [0, 0, 1, 1]))
    lines = path.with_suffix(".idx").read_text().splitlines()
    path.with_suffix(".idx").write_text("\n".join(reversed(lines[1:3])))
    assert open_source(path).keys() == ("00000000/00000001.jpg", "00000001/00000002.jpg")


def test_records_of_one_number_are_numbered_by_place(tmp_path: Path) -> None:
    records = [(0, packed(JPEG, label, 9)) for label in (3, 1)]
    path = write_records(tmp_path / "a.rec", records, index=False)
    assert open_source(path).keys() == ("00000001/00000001.jpg", "00000003/00000000.jpg")


def test_one_image_is_found_without_the_others(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.rec", plain([JPEG] * 4, [0, 0, 1, 1]))
    content = bytearray(path.read_bytes())
    damaged = int(path.with_suffix(".idx").read_text().split()[3])
    content[damaged : damaged + 4] = b"none"
    path.write_bytes(content)
    source = open_source(path)
    for key in ("00000001/00000002.png", "00000000/00000002.jpg", "1/2.jpg", "00000001/00000009.jpg", "../a", "9" * 99):
        assert key not in source
    assert "00000001/00000002.jpg" in source
    assert source.read("00000001/00000002.jpg") == JPEG
    with raises_naming(InputError, path, path.with_suffix(".idx")):
        source.keys()


LEFT_OUT: dict[str, tuple[bytes, float | tuple[float, ...]]] = {
    "without an image": (b"", 1.0),
    "no image": (b"a text", 1.0),
    "nan": (JPEG, float("nan")),
    "infinite": (JPEG, float("inf")),
    "half": (JPEG, 0.5),
    "below zero": (JPEG, -1.0),
    "not exact": (JPEG, 2.0**24),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_what_is_no_face_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture, case: str) -> None:
    data, label = LEFT_OUT[case]
    path = write_records(tmp_path / "a.rec", [*plain([JPEG], [5.0]), (61, packed(data, label, 61))])
    assert open_source(path).keys() == ("00000005/00000000.jpg",)
    names(caplog.text, path, 61)
    assert "00000001/00000061.jpg" not in open_source(path)


@pytest.mark.parametrize("named", [[0, 2], [1, 2], [0, 1]])
def test_records_that_the_index_does_not_name_are_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, named: list[int]
) -> None:
    path = write_records(tmp_path / "a.rec", plain([JPEG] * 3, [1.0, 2.0, 3.0]))
    assert len(open_source(path).keys()) == 3
    assert not caplog.text
    lines = path.with_suffix(".idx").read_text().splitlines()
    missing = next(line.split()[1] for place, line in enumerate(lines) if place not in named)
    path.with_suffix(".idx").write_text("\n".join(lines[place] for place in named))
    assert len(open_source(path).keys()) == 2
    names(caplog.text, path, f"byte {int(missing):,}")


def test_headers_that_do_not_fit_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    many = struct.pack("<IfQQ", 900, 0.0, 62, 0) + JPEG[:100]
    path = write_records(tmp_path / "a.rec", [*plain([JPEG], [5.0]), (61, b"short"), (62, many)])
    assert len(open_source(path).keys()) == 1
    names(caplog.text, 61, 62)


def test_many_labels(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.rec", [(4, packed(JPEG, (3.0, *(0.5,) * 99), 4))])
    source = open_source(path)
    assert source.keys() == ("00000003/00000004.jpg",)
    assert source.read(source.keys()[0]) == JPEG


def test_images_that_record_0_does_not_count_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [*insightface_records({"a": [JPEG] * 2, "b": [JPEG]}), (77, packed(JPEG, 0.0, 77))]
    assert len(open_source(write_records(tmp_path / "a.rec", records)).keys()) == 3
    names(caplog.text, 77)


def test_bounds_that_float32_rounds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    last = 2**24 + 4  # an image; the numbers from here on that record 0 gives are rounded to it
    header = (0, packed(b"", (last + 1, last + 2), 0))
    records = [header, (last, packed(JPEG, 1.0, last)), (last + 1, packed(b"", (last, last + 1), last + 1))]
    assert open_source(write_records(tmp_path / "a.rec", records)).keys() == (f"00000001/{last:08d}.jpg",)
    assert not caplog.text


def test_other_counts_than_the_properties_say(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_recordio(tmp_path, {"a": {"1": JPEG}, "b": {"1": JPEG}})
    open_source(tmp_path).keys()
    assert not caplog.text
    (tmp_path / "property").write_text("85742,112,112")
    open_source(tmp_path).keys()
    names(caplog.text, 85742, 2)


LISTS: dict[str, str] = {
    "InsightFace": "1\t/data/ann/1.jpg\t0\n1\t/data/ann/2.jpg\t0\n1\t/data/bob/1.jpg\t1\n",
    "with landmarks": "0\t../data/ann/1.jpg\t0"
    + "\t1" * 14
    + "\n0\tx\t0\n1\tdata/ann/2.jpg\t0\n1\tdata/bob/1.jpg\t1\n",
    "MXNet": "3\t1.000000\tdata/bob/1.jpg\r\n1\t0.000000\tdata/ann/1.jpg\r\n2\t0\t5.0\t./data//ann/2.jpg\r\n",
    "numbers alone": "1\t0\t0\tdata/ann/1.jpg\n2\t0\t0\tdata/ann/2.jpg\n3\t1\t0\tdata/bob/1.jpg\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_names_of_a_list(tmp_path: Path, kind: str) -> None:
    images = [image_file("bmp", FACE[:4, 4 * place : 4 * place + 4]) for place in range(3)]
    path = write_records(tmp_path / "train.rec", insightface_records({"a": images[:2], "b": images[2:]}))
    path.with_suffix(".lst").write_text(LISTS[kind])
    source = open_source(tmp_path)
    keys = source.keys()
    assert keys == ("data/ann/1.jpg", "data/ann/2.jpg", "data/bob/1.jpg")
    assert [source.identity(key) for key in keys] == ["00000000"] * 2 + ["00000001"]
    assert [source.read(key) for key in keys] == images
    assert "data/bob/1.jpg" in source
    assert "data/bob/2.jpg" not in source


def test_what_a_list_does_not_name_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_records(tmp_path / "train.rec", plain([JPEG] * 3, [0, 0, 1]))
    path.with_suffix(".lst").write_text("0\t0\ta.jpg\n1\t0\tb.jpg\n")
    assert open_source(path).keys() == ("a.jpg", "b.jpg")
    names(caplog.text, "train.lst", 2)


@pytest.mark.parametrize(
    "text", ["0\t1\ta.jpg\n", "0\t0\ta.jpg\n0\t0\tb.jpg\n", "0\t0\ta\n1\t0\ta\n", "a.jpg 0\n", "0\n"]
)
def test_lists_of_other_files(tmp_path: Path, text: str) -> None:
    path = write_records(tmp_path / "train.rec", plain([JPEG] * 2, [0, 0]))
    path.with_suffix(".lst").write_text(text)
    with raises_naming(InputError, path.with_suffix(".lst")):
        open_source(path).keys()


def overlapping(content: bytes) -> bytes:
    """A record of which the second half is taken for another one."""
    return framed(packed(framed(packed(JPEG, 1.0, 1)), 1.0, 0)) + content


DAMAGE: dict[str, Callable[[bytes, bytes], tuple[bytes, bytes]]] = {
    "cut": lambda rec, idx: (rec[:-300], idx),
    "cut within a frame": lambda rec, idx: (rec + MAGIC + b"\1", idx + b"7\t%d\n" % len(rec)),
    "another index": lambda rec, idx: (rec, idx.replace(b"1\t", b"1\t4")),
    "a last part alone": lambda rec, idx: (rec[:7] + bytes([rec[7] | 0x60]) + rec[8:], idx),
    "a first part alone": lambda rec, idx: (rec[:7] + bytes([rec[7] | 0x20]) + rec[8:], idx),
    "a number twice": lambda rec, idx: (rec, idx + idx),
    "no numbers": lambda rec, idx: (rec, b"a\tb\n"),
    "large numbers": lambda rec, idx: (rec, b"1\t" + b"9" * 30),
    "a long line": lambda rec, idx: (rec, b"1" * 10_000),
    "no index": lambda rec, idx: (rec, b""),
    "no file of this kind": lambda rec, idx: (b"\x80\x04" + rec, idx),
    "overlapping": lambda rec, idx: (overlapping(rec), b"0\t0\n1\t%d\n" % (8 + 24)),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_files_are_refused(tmp_path: Path, case: str) -> None:
    path = write_records(tmp_path / "a.rec", plain([JPEG] * 2, [0, 1]))
    rec, idx = DAMAGE[case](path.read_bytes(), path.with_suffix(".idx").read_bytes())
    path.write_bytes(rec)
    path.with_suffix(".idx").write_bytes(idx)
    with raises_naming(InputError, path.with_suffix(".idx")):
        open_source(path).keys()


def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.rec", plain([JPEG], [0]), index=False)
    os.mkfifo(path.with_suffix(".idx"))
    with raises_naming(InputError, path.with_suffix(".idx")):
        open_source(path).keys()
    os.mkfifo(tmp_path / "b.rec")
    with raises_naming(InputError, tmp_path / "b.rec"):
        open_source(tmp_path / "b.rec")


def test_a_file_that_changes_is_no_longer_read(tmp_path: Path) -> None:
    path = write_records(tmp_path / "a.rec", plain([JPEG] * 2, [0, 1]))
    source = open_source(path)
    key = source.keys()[1]
    with path.open("r+b") as file:
        file.truncate(100)
    for use in (source.read, source.fingerprint):
        with raises_naming(InputError, path):
            use(key)
    path.unlink()
    with raises_naming(InputError, path):
        source.fingerprint(key)


def test_decoded_faces_are_kept_by_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    faces = faces_of(write_faces(tmp_path / "faces"))
    path = write_recordio(tmp_path / "packed", faces) / "train.rec"
    first = open_faces(path)
    assert np.array_equal(open_faces(path).images, first.images)
    assert len(list((tmp_path / "cache").glob("faces-*"))) == 1
    write_recordio(tmp_path / "packed", {person: {"1.png": files["2.png"]} for person, files in faces.items()})
    assert open_faces(path).hashes == first.hashes[2::3]
    assert len(list((tmp_path / "cache").glob("faces-*"))) == 2
