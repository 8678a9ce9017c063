"""efq-embed --parquet as a user runs it."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet
import pytest
from artifacts import EMBEDDING_SIZE, make_artifact, random_faces, reference_embeddings
from click.testing import CliRunner, Result
from detectors import make_detector, write_photos
from messages import names, raises_naming

from efq.runtime.embed_command import main
from efq.runtime.errors import DeviceError, InputError, SchemaError
from efq.runtime.faces.template import ARCFACE_TEMPLATE
from efq.runtime.gallery.files import read_gallery
from efq.runtime.machine.cpu import usable_cores
from efq.runtime.reading import sha256_file

FACES = random_faces(11)
BROKEN = "b/broken.jpg"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eleven faces, people/a/00.png ... people/c/10.png, and a file that is none; the current folder is its parent."""
    for index, face in enumerate(FACES):
        path = tmp_path / "people" / "abc"[index // 4] / f"{index:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), face[:, :, ::-1])
    (tmp_path / "people" / BROKEN).write_bytes(b"\xff\xd8\xff")
    monkeypatch.chdir(tmp_path)
    return Path("people")


def embed(*arguments: object, threads: int = 1) -> Result:
    more = ("--backend", "onnxruntime", "--batch", 2, "--threads", threads)
    return CliRunner().invoke(main, [str(argument) for argument in (*arguments, "--parquet", *more)])


def content_of(output: Path) -> dict[str, bytes]:
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def rows_of(output: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = pyarrow.parquet.read_table(output / "embeddings").to_pylist()
    return rows


def failures_of(output: Path) -> dict[str, str]:
    with (output / "failures.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "reason"]
    return dict(rows)


def test_a_folder_in_shards(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    result = embed(tiny_artifact, folder, "-o", output, "--shard", 5)
    assert result.exit_code == 0, result.stderr
    (line,) = result.stdout.splitlines()
    names(line, output, 11, 12, 3, 1, EMBEDDING_SIZE, "onnxruntime", "failures.csv")
    names(result.stderr, "12/12", "images/s")
    assert sorted(content_of(output)) == [
        *(f"embeddings/0000{shard}.parquet" for shard in range(3)),
        "failures.csv",
        "manifest.json",
    ]
    rows = rows_of(output)
    paths = [str(row["path"]) for row in rows]
    assert paths == [f"people/{'abc'[index // 4]}/{index:02}.png" for index in range(11)]
    embeddings = np.array([row["embedding"] for row in rows], np.float32)
    np.testing.assert_allclose(embeddings, reference_embeddings(FACES), atol=2e-6)
    assert [row["person"] for row in rows] == [path.split("/")[1] for path in paths]
    assert rows[0]["sha256"] == sha256_file(folder / "a" / "00.png", expected="an image")
    assert list(failures_of(output)) == [f"people/{BROKEN}"]
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["outcome"] == {"images": 12, "faces": 11, "failed": 1}


def test_workers_and_shards_change_no_number(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    one = embed(tiny_artifact, folder, "-o", tmp_path / "one", "--shard", 8, "--json")
    two = embed(tiny_artifact, folder, "-o", tmp_path / "two", "--shard", 8, "--json", threads=2)
    assert json.loads(two.stdout) | {"output": "", "seconds": 0} == json.loads(one.stdout) | {
        "output": "",
        "seconds": 0,
    }
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


@pytest.mark.parametrize("damage", ["shard gone", "shard cut", "failures gone", "killed at the end", "nothing"])
def test_a_resumed_run_is_the_same_to_the_byte(
    tiny_artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    from efq.runtime.bulk.folder import BulkFolder

    def fail(*_: object) -> None:
        raise OSError(damage)

    output, words = tmp_path / "out", (tiny_artifact, folder, "-o", tmp_path / "out", "--shard", 5)
    assert embed(*words).exit_code == 0
    expected = content_of(output)
    shutil.rmtree(output)
    with monkeypatch.context() as patch:  # as if it was killed before the end
        patch.setattr(BulkFolder, "finish", fail)
        assert embed(*words).exit_code == 1
    if damage == "shard gone":
        (output / "embeddings" / "00001.parquet").unlink()
    elif damage == "shard cut":
        (output / "embeddings" / "00002.parquet").write_bytes(expected["embeddings/00002.parquet"][:-7])
    elif damage == "failures gone":
        (output / "unfinished" / "00001.failures.csv").unlink()
    assert embed(*words).exit_code == 2  # not without --resume
    result = embed(*words, "--resume", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["resumed"] == {"shard gone": 7, "shard cut": 10, "failures gone": 7}.get(
        damage, 12
    )
    assert content_of(output) == expected
    assert embed(*words, "--resume").exit_code == 0  # of a finished run nothing is left to do
    assert content_of(output) == expected
    (output / "embeddings" / "00001.parquet").unlink()
    result = embed(*words, "--resume")
    assert result.exit_code == 1
    names(result.stderr, output / "embeddings" / "00001.parquet")


def test_a_folder_of_people_is_a_gallery(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    assert embed(tiny_artifact, folder, "-o", tmp_path / "out", "--shard", 5).exit_code == 0
    words = [str(word) for word in (tiny_artifact, folder, "-o", tmp_path / "out.npz", "--skip-unreadable")]
    assert (
        CliRunner().invoke(main, [*words, "--backend", "onnxruntime", "--threads", "1", "--batch", "2"]).exit_code == 0
    )
    found, expected = read_gallery(tmp_path / "out"), read_gallery(tmp_path / "out.npz")
    for field in ("people", "faces", "hashes", "embeddings"):
        np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))
    assert found.record == expected.record
    with raises_naming(InputError, tmp_path / "out", "other"):
        read_gallery(tmp_path / "out", model=dataclasses.replace(found.record.model, sha256="0" * 64, name="other"))


def test_what_is_no_gallery(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert embed(tiny_artifact, folder / "a", "-o", output).exit_code == 0
    with raises_naming(InputError, output, "person"):  # nothing says who is on which
        read_gallery(output)
    shutil.rmtree(output)
    assert embed(tiny_artifact, folder, "-o", output, "--shard", 5).exit_code == 0
    shards = [output / "embeddings" / f"0000{number}.parquet" for number in range(3)]
    content = shards[1].read_bytes()
    for damaged in (shards[0].read_bytes(), b"", content[:-3], content[:200] + b"x" * 200 + content[400:]):
        shards[1].write_bytes(damaged)
        with pytest.raises(InputError):
            read_gallery(output)
    shards[1].unlink()
    with raises_naming(InputError, shards[1]):
        read_gallery(output)
    (output / "manifest.json").write_text("{}")
    with pytest.raises(SchemaError):
        read_gallery(output)


def test_only_the_same_run_is_resumed(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert embed(tiny_artifact, folder, "-o", output, "--resume").exit_code == 0  # begins it
    expected = content_of(output)
    other = make_artifact(tmp_path / "other", name="other")
    for words, fact in (
        ((tiny_artifact, folder, "--shard", 5), "shard_images"),
        ((tiny_artifact, folder / "a"), "sources"),
        ((tiny_artifact, folder, "--no-exif-orientation"), "exif_orientation"),
        ((other, folder), "other"),
    ):
        result = embed(*words, "-o", output, "--resume")
        assert result.exit_code == 2
        names(result.stderr, fact)
    assert content_of(output) == expected


def test_no_two_runs_and_no_other_folder(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    from efq.runtime.bulk.folder import BulkFolder

    output = tmp_path / "out"
    output.mkdir()
    (output / "precious.txt").write_text("")
    result = embed(tiny_artifact, folder, "-o", output)
    assert result.exit_code == 2
    names(result.stderr, output, "precious.txt")
    assert content_of(output) == {"precious.txt": b""}
    with BulkFolder(tmp_path / "held").locked():
        result = embed(tiny_artifact, folder, "-o", tmp_path / "held", "--resume")
    assert result.exit_code == 2
    names(result.stderr, tmp_path / "held")
    for place in (folder, folder.parent, folder / "a" / "00.png", tiny_artifact):
        assert embed(tiny_artifact, folder, "-o", place).exit_code == 2


def test_hostile_images_are_failures(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(folder / "c" / "pipe.png")
    (folder / "c" / "nowhere.png").symlink_to("nothing")
    (folder / "c" / "linked.png").symlink_to("10.png")
    (folder / "c" / os.fsdecode(b"\xff.png")).write_bytes((folder / "c" / "10.png").read_bytes())
    cv2.imwrite(str(folder / "c" / "large.png"), np.zeros((200, 200, 3), np.uint8))
    cv2.imwrite(str(folder / "c" / "black.png"), np.zeros((112, 112, 3), np.uint8))
    header = bytearray((folder / "c" / "10.png").read_bytes())
    header[16:24] = (100_000).to_bytes(4, "big") * 2
    (folder / "c" / "bomb.png").write_bytes(bytes(header))
    result = embed(tiny_artifact, folder, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    failures = failures_of(tmp_path / "out")
    wanted = ("\udcff", "black", "bomb", "large", "nowhere", "pipe")
    assert sorted(failures) == sorted([f"people/{BROKEN}", *(f"people/c/{name}.png" for name in wanted)])
    names(failures["people/c/pipe.png"], "pipe")
    names(failures["people/c/\udcff.png"], "UTF-8")
    names(failures["people/c/large.png"], "200x200")
    assert len(rows_of(tmp_path / "out")) == 12  # with the link


def test_nothing_but_failures(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    for _ in range(2):
        result = embed(tiny_artifact, folder / BROKEN, "-o", tmp_path / "out", "--resume")
        assert result.exit_code == 1
        names(result.stderr.partition("error: ")[2], 1, tmp_path / "out" / "failures.csv")
    assert rows_of(tmp_path / "out") == []


def test_no_images(tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("\n")
    for words in ((tmp_path / "empty",), ("--list", tmp_path / "list.txt"), ("--list", tmp_path / "none")):
        result = embed(tiny_artifact, *words, "-o", tmp_path / "out")
        assert result.exit_code == 1
        names(result.stderr, words[-1])
        assert not (tmp_path / "out").exists()


def test_a_list_with_people(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    rows = [("people/c/10.png", "Ann"), ("people/a/00.png", ""), ("people/c/10.png", "two\nlines"), ("none.png", "x")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "person"), *rows])
    result = embed(tiny_artifact, "--list", tmp_path / "list.csv", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert [(row["path"], row["person"]) for row in rows_of(tmp_path / "out")] == [rows[0], (rows[1][0], None)]
    assert list(failures_of(tmp_path / "out")) == ["people/c/10.png", "none.png"]
    with (tmp_path / "list.csv").open("a") as file:
        file.write("more.png,\n")
    result = embed(tiny_artifact, "--list", tmp_path / "list.csv", "-o", tmp_path / "out", "--resume")
    assert result.exit_code == 2


def test_a_list_with_landmarks(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[40:152, 60:172] = FACES[0]
    cv2.imwrite("picture.png", picture[:, :, ::-1])
    points = (ARCFACE_TEMPLATE + np.array((60, 40))).reshape(-1)
    header = ",".join(f"x{point},y{point}" for point in range(1, 6))
    lines = [f"path,score,{header}", f"picture.png,1,{','.join(map(str, points))}", f"picture.png,1,{',' * 9}"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    result = embed(tiny_artifact, "--list", tmp_path / "list.csv", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    (row,) = rows_of(tmp_path / "out")
    np.testing.assert_allclose(np.array([row["embedding"]]), reference_embeddings(FACES[:1]), atol=0.01)
    np.testing.assert_allclose(np.array(row["landmarks"]), points, rtol=1e-6)
    assert list(failures_of(tmp_path / "out")) == ["picture.png"]


def test_landmarks_of_smaller_pictures_end_the_run(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    cv2.imwrite("picture.png", picture)
    points = ",".join(map(str, (ARCFACE_TEMPLATE + 20).reshape(-1)))
    header = ",".join(f"x{point},y{point}" for point in range(1, 6))
    (tmp_path / "list.csv").write_text(f"path,{header}\n" + f"picture.png,{points}\n" * 11)
    result = embed(tiny_artifact, "--list", tmp_path / "list.csv", "-o", tmp_path / "out")
    assert result.exit_code == 1
    names(result.stderr, 11, "image_width")
    assert not list((tmp_path / "out" / "embeddings").iterdir())


@pytest.mark.parametrize("take", ["largest", "all"])
def test_photos(tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, take: str) -> None:
    monkeypatch.chdir(tmp_path)
    detector = make_detector(tmp_path / "detector.onnx", size=320)
    write_photos(tmp_path / "photos", ["0.png", "1.png"])
    cv2.imwrite("photos/2.png", np.full((320, 320, 3), 90, np.uint8))
    result = embed(tiny_artifact, "photos", "-o", tmp_path / "out", "--detector", detector, "--take", take)
    assert result.exit_code == 0, result.stderr
    rows = rows_of(tmp_path / "out")
    assert [(row["path"], row["face"], row["person"]) for row in rows] == [
        ("photos/0.png", 0, None),
        ("photos/1.png", 0, None),
    ]
    assert np.shape([row["box"] for row in rows]) == (2, 4)
    assert np.shape([row["landmarks"] for row in rows]) == (2, 10)
    assert all(0 < float(str(row["score"])) <= 1 for row in rows)
    assert list(failures_of(tmp_path / "out")) == ["photos/2.png"]


def test_options_that_do_nothing_are_refused(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("people/a/00.png\n")
    output = ("-o", tmp_path / "out")
    for words, fact in (
        ((folder, "--parquet", "--skip-unreadable"), "--skip-unreadable"),
        ((folder, "--parquet", "--landmarks", tmp_path / "list.csv"), "--landmarks"),
        ((folder, "--parquet", "--take", "all"), "--take"),
        ((folder, "--parquet", "--rebuild"), "--rebuild"),
        ((folder, "--parquet", "--list", tmp_path / "list.csv"), "--list"),
        (("--parquet",), "--list"),
        ((folder, "--parquet", "--ray", "nowhere"), "--ray"),
        ((), "IMAGES"),
        (("--list", tmp_path / "list.csv"), "--list"),
        ((folder, "--resume"), "--resume"),
        ((folder, "--shard", 5), "--shard"),
        ((folder, "--ray", "local"), "--ray"),
    ):
        result = CliRunner().invoke(main, [str(word) for word in (tiny_artifact, *words, *output)])
        assert result.exit_code == 2, (words, result.output)
        names(result.stderr, fact)
        assert not (tmp_path / "out").exists()


def test_images_that_go_away_are_no_failures(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    words = (tiny_artifact, folder, "-o", output, "--shard", 5)
    assert embed(*words).exit_code == 0
    expected = content_of(output)
    manifest = json.loads((output / "manifest.json").read_text())
    shutil.rmtree(output)
    from efq.runtime.bulk.folder import BulkFolder
    from efq.runtime.bulk.listing.sources import Sources
    from efq.runtime.bulk.record import BulkRecord
    from efq.runtime.progress import no_progress

    bulk = BulkFolder(output)  # a run that has only begun
    with bulk.locked():
        Sources(images=(folder,), list_file=None).write_lists(bulk, 5, no_progress)
        bulk.begin(BulkRecord.from_json(json.dumps(manifest | {"outcome": None})))
    folder.rename("elsewhere")
    result = embed(*words, "--resume")
    assert result.exit_code == 2
    names(result.stderr, "people", "--resume")
    Path("elsewhere").rename(folder)
    assert embed(*words, "--resume").exit_code == 0
    assert content_of(output) == expected


@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_a_signal_says_how_to_go_on(tiny_artifact: Path, folder: Path, tmp_path: Path, threads: int) -> None:
    lines = [f"people/{'abc'[index % 11 // 4]}/{index % 11:02}.png\n" for index in range(20_000)]
    (tmp_path / "list.txt").write_text("".join(lines))
    output = tmp_path / "out"
    words = [tiny_artifact, "--list", tmp_path / "list.txt", "-o", output, "--parquet", "--shard", 100]
    command = [sys.executable, "-m", "efq.runtime.embed_command", *words, "--threads", threads]
    run = subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, text=True)
    with run:
        while not (output / "embeddings" / "00001.parquet").exists():
            assert run.poll() is None
            time.sleep(0.01)
        run.send_signal(signal.SIGTERM)
        assert run.stderr is not None
        *_, advice, last = run.stderr.read().splitlines()
    assert run.returncode == 143
    names(advice, "--resume")
    assert last.startswith("terminated")
    assert not list(output.rglob("*.partial"))
    assert len(list((output / "embeddings").iterdir())) >= 2


@pytest.mark.slow
def test_a_cluster_writes_the_same_bytes(tiny_artifact: Path, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    words = (tiny_artifact, folder, "--shard", 3)
    assert embed(*words, "-o", tmp_path / "one").exit_code == 0
    more = ("-o", tmp_path / "two", "--parquet", "--ray", "local", "--resume", "--backend", "onnxruntime", "--batch", 2)
    command = [str(word) for word in (sys.executable, "-m", "efq.runtime.embed_command", *words, *more)]
    with tempfile.TemporaryDirectory(prefix="r", dir="/tmp") as short:  # for Ray's sockets, whose paths are short
        for _ in range(3):  # Ray gives its own processes half a minute to start, which a busy machine may not
            run = subprocess.run(
                command, capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": short}
            )
            if run.returncode != DeviceError.exit_code:
                break
        assert run.returncode == 0, run.stderr
        names(run.stderr, "12/12", usable_cores(), "CPU")
        assert list(Path(short).iterdir()) == []
    assert content_of(tmp_path / "two") == content_of(tmp_path / "one")
