"""Parts of a run of many images: the walk, lists, shards, the manifest."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from messages import raises_naming

from efq.runtime import InputContract, InputError
from efq.runtime.bulk.listing.list_file import open_list
from efq.runtime.bulk.listing.listed import ListedImage, read_shard_list, write_shard_list
from efq.runtime.bulk.listing.walk import walk_images
from efq.runtime.bulk.parquet import ROWS, FaceFile, FaceRow, make_schema, metadata_of
from efq.runtime.bulk.record import BulkRecord, Listing, Options, Outcome
from efq.runtime.errors import ChecksumError, SchemaError, UsageError
from efq.runtime.faces.scan import LeftOut, scan_folder
from efq.runtime.gallery.record import EmbeddingModel

ODD = ("a,b.jpg", 'a "quoted" one.jpg', "two\nlines.jpg", "two\r\nlines.jpg", " blank .jpg", "\udcff.jpg", "é/ü.jpg")


def write_tree(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def test_a_walk_finds_what_a_scan_does_in_its_order(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path / "root",
        (*ODD, "b/1.png", "b/10.PNG", "b/2.png", "b.png", "a/b/c/1.webp", ".hidden/1.png", "b/.1.png", "b/notes.txt"),
    )
    os.mkfifo(root / "pipe.jpg")
    os.mkfifo(root / "pipe")
    (root / "nothing.jpg").symlink_to("nowhere")
    (root / "nothing").symlink_to("nowhere")
    (root / "to-image.jpg").symlink_to("b/1.png")
    left_out, scan = LeftOut(), scan_folder(root)
    found = list(walk_images(root, left_out))
    assert [name for name in found if name not in ("pipe.jpg", "nothing.jpg")] == list(scan.images)
    assert {"pipe.jpg", "nothing.jpg"} <= set(found)  # who reads them says why they cannot be read
    assert str(left_out).startswith("1 files of types that are not read (.txt 1)")
    assert "hidden or system" in str(left_out)


def test_no_folder_is_walked_twice(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "root", ("a/1.png", "b/2.png", ".kept/3.png"))
    write_tree(tmp_path / "outside", ("x/4.png", "5.png"))
    for name, target in (
        ("again", root / "a"),
        ("circle", root),
        ("up", tmp_path),
        ("out", tmp_path / "outside"),
        ("out-again", tmp_path / "outside" / "x"),
        ("shown", root / ".kept"),
    ):
        (root / name).symlink_to(target)
    found = list(walk_images(root, LeftOut()))
    assert found == ["a/1.png", "b/2.png", "out/5.png", "out/x/4.png", "shown/3.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_is_yielded(tmp_path: Path) -> None:
    root = write_tree(tmp_path, ("a/1.png", "b/2.png"))
    (root / "a").chmod(0)
    assert list(walk_images(root, LeftOut())) == ["a", "b/2.png"]
    (root / "a").chmod(0o700)


def test_no_folder_to_walk(tmp_path: Path) -> None:
    with raises_naming(InputError, tmp_path / "none"):
        list(walk_images(tmp_path / "none", LeftOut()))


def test_a_shard_list_holds_any_name(tmp_path: Path) -> None:
    images = [ListedImage(path=name, person="p", landmarks=("1", "2")) for name in ODD]
    digest = write_shard_list(tmp_path / "list.csv", images)
    assert read_shard_list(tmp_path / "list.csv", sha256=digest) == images
    (tmp_path / "list.csv").write_text("a,b\n")
    with raises_naming(ChecksumError, tmp_path / "list.csv", digest):
        read_shard_list(tmp_path / "list.csv", sha256=digest)


def listed(path: Path, content: bytes) -> list[ListedImage]:
    path.write_bytes(content)
    with open_list(path) as found:
        return list(found.images)


def test_a_list_of_paths(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbfa,b.jpg\r\n\r\n \xff \nlast"
    assert [image.path for image in listed(tmp_path / "list", content)] == ["a,b.jpg", " \udcff ", "last"]


def test_a_list_of_people(tmp_path: Path) -> None:
    content = b'Person,other, path\nAnn,1,"a,""b"".jpg"\n\n,2,"two\nlines.jpg"\n'
    assert listed(tmp_path / "list", content) == [
        ListedImage(path='a,"b".jpg', person="Ann"),
        ListedImage(path="two\nlines.jpg"),
    ]
    with open_list(tmp_path / "list") as found:
        assert (found.has_people, found.has_landmarks) == (True, False)


def test_a_list_of_landmarks(tmp_path: Path) -> None:
    points = ",".join(f"x{point},y{point}" for point in range(1, 6))
    content = f"path,{points},image_width,image_height\na.jpg,{','.join(map(str, range(12)))}\n".encode()
    (found,) = listed(tmp_path / "list", content)
    assert found.landmarks == tuple(map(str, range(12)))


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"path,person\na.jpg\n", 2),
        (b"path,person\n,Ann\n", 2),
        (b"path,person,path\n", "path"),
        (b"path,x1,y1\n", "x2"),
        (b"a.jpg\n" + b"b" * 70_000, 2),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"a\0b", "UTF-8"),
        (b'path\n"' + b"a\n" * 100_000, "list"),
    ],
)
def test_what_is_no_list(tmp_path: Path, content: bytes, fact: object) -> None:
    with raises_naming(InputError, tmp_path / "list", fact):
        listed(tmp_path / "list", content)


def make_record(**changes: object) -> BulkRecord:
    options = Options(
        backend="onnxruntime",
        batch=4,
        detector=None,
        exif_orientation=None,
        shard_images=10,
        sources="0" * 64,
        take="largest",
    )
    listing = Listing(images=11, sha256=("1" * 64, "2" * 64), has_people=False, has_landmarks=False, root="")
    model = EmbeddingModel(sha256="3" * 64, name="tiny", embedding_size=4)
    values: dict[str, object] = {
        "efq": "0.1.0",
        "model": model,
        "input": InputContract(),
        "options": options,
        "listing": listing,
    }
    return BulkRecord(**(values | changes))  # type: ignore[arg-type]


def test_a_record_comes_back() -> None:
    for record in (make_record(), make_record(outcome=Outcome(images=11, faces=9, failed=2))):
        assert BulkRecord.from_json(record.to_json()) == record
    assert [make_record().images_in(shard) for shard in make_record().shards] == [10, 1]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("options", "shard_images"), 0),
        (("options", "batch"), -1),
        (("options", "exif_orientation"), 1),
        (("listing", "images"), 21),
        (("listing", "sha256"), ["x"]),
        (("listing", "sha256"), "1"),
        (("outcome",), 3),
        (("schema_version",), 2),
        (("efq",), None),
        (("more",), 1),
    ],
)
def test_a_record_of_other_values(place: tuple[str, ...], value: object) -> None:
    values = json.loads(make_record().to_json())
    target = values
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    with pytest.raises(SchemaError):
        BulkRecord.from_json(json.dumps(values))


def test_only_the_same_run_goes_on() -> None:
    record = make_record()
    record.check_same(record.model, record.options)
    with raises_naming(UsageError, "batch", 4, 8):
        record.check_same(record.model, dataclasses.replace(record.options, batch=8))
    with raises_naming(UsageError, "other"):
        record.check_same(dataclasses.replace(record.model, name="other"), record.options)


def write_faces(path: Path, count: int) -> None:
    schema = make_schema(4, boxes=True, landmarks=True, metadata='{"a": 1}')
    embeddings = np.arange(count * 4, dtype=np.float32).reshape(count, 4)
    with FaceFile.written(path, schema) as file:
        for start in range(0, count, 1000):
            part = embeddings[start : start + 1000]
            box, points = np.arange(4, dtype=np.float32), np.arange(10, dtype=np.float32)
            rows = [
                FaceRow(path=f"{start + place}.png", face=0, person="", sha256="", box=box, score=0.5, landmarks=points)
                for place in range(len(part))
            ]
            file.add(rows, part)
        file.note("late", "2")


def test_a_face_file_is_written_row_group_by_row_group(tmp_path: Path) -> None:
    write_faces(tmp_path / "one.parquet", 2 * ROWS + 1)
    write_faces(tmp_path / "two.parquet", 2 * ROWS + 1)
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    rows, pairs = metadata_of(tmp_path / "one.parquet")
    assert rows == 2 * ROWS + 1
    assert (json.loads(pairs["efq"]), pairs["late"]) == ({"a": 1}, "2")
    table = pyarrow.parquet.read_table(tmp_path / "one.parquet")
    embeddings = np.stack(table["embedding"].to_numpy())
    np.testing.assert_array_equal(embeddings, np.arange(rows * 4, dtype=np.float32).reshape(rows, 4))
    assert table["person"].null_count == rows
    assert table["landmarks"][0].as_py() == list(range(10))


def test_a_face_file_that_fails_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        FaceFile.written(tmp_path / "one.parquet", make_schema(4, boxes=False, landmarks=False, metadata="")),
    ):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_parquet_file(tmp_path: Path) -> None:
    write_faces(tmp_path / "one.parquet", 3)
    content = (tmp_path / "one.parquet").read_bytes()
    for damaged in (b"", b"PAR1", content[:-5], content[:100] + content[-8:], b"x" * 50):
        (tmp_path / "damaged.parquet").write_bytes(damaged)
        with raises_naming(InputError, tmp_path / "damaged.parquet"):
            metadata_of(tmp_path / "damaged.parquet")
