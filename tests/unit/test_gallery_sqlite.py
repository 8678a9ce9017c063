"""Enrolled people in one SQLite file: what is erased, other processes, forks, damage, and places that are none."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from messages import raises_naming
from store_reference import Reference
from stores import MODEL, SIZE, faces, open_store

from efq.runtime.errors import EfqError, GalleryError, UsageError
from efq.runtime.gallery.gallery import Gallery
from efq.runtime.gallery.record import GalleryRecord
from efq.runtime.gallery.stores.index.grid import Grid
from efq.runtime.gallery.stores.sqlite import connections, place
from efq.runtime.gallery.stores.sqlite.store import SqliteStore
from efq.runtime.gallery.stores.store import GalleryStore, StoreSize

AMID_A_QUERY = """
import signal, sys
from pathlib import Path
from efq.runtime.commands.signals import end_this_process
from efq.runtime.gallery.stores.sqlite.connections import Connections
from efq.runtime.gallery.stores.sqlite.place import hold
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's `&` has it ignored
end_this_process()
path = Path(sys.argv[1])
with Connections(path, hold(path)).writing() as connection:
    connection.execute("DELETE FROM faces")
    rows = connection.execute("SELECT id FROM embeddings, people")
    rows.fetchone()
    assert Path(f"{path}-wal").exists()
    signal.raise_signal(signal.SIGINT)
"""

OTHER = [sys.executable, str(Path(__file__).parents[1] / "scripts" / "store_process.py")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gallery.db"


@pytest.fixture
def store(path: Path) -> Iterator[GalleryStore]:
    with open_store(str(path)) as opened:
        yield opened


def enroll_many(store: GalleryStore, count: int) -> None:
    names = [f"person {number:04}" for number in range(count)]
    store.add(Gallery.of(faces(count, seed=0), names, [f"{name}.png" for name in names], GalleryRecord(model=MODEL)))


def files_of(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.parent.iterdir()}


def test_a_removed_face_is_in_no_file(store: GalleryStore, path: Path) -> None:
    enroll_many(store, 400)
    rows = faces(400, seed=0)
    gone = random.Random(1).sample(range(400), 60)
    for number in gone:
        assert store.remove(f"person {number:04}") == 1
        found = files_of(path)
        assert not found["gallery.db-wal"]
        for content in found.values():
            assert rows[number].tobytes() not in content
            assert f"person {number:04}".encode() not in content
    every = b"".join(files_of(path).values())
    assert not [number for number in gone if rows[number].tobytes()[8:40] in every]
    assert all(rows[number].tobytes() in every for number in set(range(400)) - set(gone))


def test_an_interrupted_erasure_is_finished_when_opened(path: Path, tmp_path: Path) -> None:
    with open_store(str(path)) as store:
        enroll_many(store, 3)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("UPDATE embeddings SET content = zeroblob(length(content)) WHERE slot = 1")
            connection.execute("DELETE FROM faces WHERE person = 1")
            connection.execute("DELETE FROM people WHERE id = 1")
            copy = tmp_path / "copy"
            copy.mkdir()
            for file in path.parent.glob("gallery.db*"):
                shutil.copy(file, copy)
    row = faces(3, seed=0)[0].tobytes()
    assert row in b"".join(files_of(copy / "gallery.db").values())
    with open_store(str(copy / "gallery.db")) as store:
        assert store.size().people == 2
        assert row not in b"".join(files_of(copy / "gallery.db").values())


def test_a_removed_face_is_overwritten_in_the_index(path: Path) -> None:
    with open_store(str(path)) as store:
        assert isinstance(store, SqliteStore)
        enroll_many(store, 100)
        store.search(faces(1, seed=5))
        (chunk,) = store._follower.index._chunks
        codes = Grid.for_size(SIZE).encode(faces(100, seed=0))[0]
        held = chunk._signed(slice(0, 100)).tobytes()
        assert all(code.tobytes() in held for code in codes)
        store.remove("person 0007")
        held = chunk._signed(slice(0, 100)).tobytes()
        assert [number for number, code in enumerate(codes) if code.tobytes() not in held] == [7]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and glibc")
def test_a_removed_face_is_nowhere_in_memory(path: Path) -> None:
    """Of a process that searched for it, where the C library overwrites what is freed."""
    with open_store(str(path)) as store:
        enroll_many(store, 100)
    row = faces(100, seed=0)[7]
    codes = Grid.fitted(faces(100, seed=0)).encode(row[None])[0]
    forms = [row.tobytes()[8:40], codes.tobytes(), (codes.view(np.uint8) ^ 128).tobytes()]
    environment = os.environ | {"MALLOC_PERTURB_": "85", "PYTHONMALLOC": "malloc"}
    with subprocess.Popen(
        [*OTHER, str(path), "search", "remove"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "search 1\n"
        assert any(form in memory_of(process.pid) for form in forms)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "remove 1\n"
        memory = memory_of(process.pid)
        assert [form in memory for form in forms] == [False] * 3
        process.stdin.write("\n")


def memory_of(process: int) -> bytes:
    """All that a process can read of its own memory."""
    parts = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if "rw" in line.split()[1] and "[v" not in line:
                memory.seek(start)
                with contextlib.suppress(OSError):
                    parts.append(memory.read(end - start))
    return b"".join(parts)


def test_a_reader_holds_an_erasure_up(store: GalleryStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.1)
    enroll_many(store, 3)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM faces").fetchone()
        with raises_naming(GalleryError, f"{path}-wal"):
            store.remove("person 0001")
        assert store.size().people == 2
        assert "person 0001" not in [match.person for match in store.search(faces(3, seed=0), 3)[1]]
        reader.execute("ROLLBACK")
    assert store.remove("person 0001") == 0
    assert faces(3, seed=0)[1].tobytes() not in b"".join(files_of(path).values())


def test_a_locked_file(store: GalleryStore, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.1)
    enroll_many(store, 3)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(GalleryError):
            store.enroll("Ada", faces(1, seed=1))
        assert store.size().people == 3
        assert store.search(faces(3, seed=0))[0][0].person == "person 0000"
        writer.execute("ROLLBACK")
    store.enroll("Ada", faces(1, seed=1))


def test_a_signal_amid_a_query_leaves_the_file_alone(path: Path) -> None:
    with open_store(str(path)) as store:
        enroll_many(store, 100)
    done = subprocess.run([sys.executable, "-c", AMID_A_QUERY, str(path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
    assert [found.name for found in path.parent.iterdir()] == [path.name]
    with open_store(str(path)) as store:
        assert store.size().faces == 100


def test_processes_see_each_other(store: GalleryStore, path: Path) -> None:
    enroll_many(store, 100)
    done = subprocess.run(
        [*OTHER, str(path), "search", "enroll", "remove"], input="\n" * 3, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n") == ["search 1", "enroll 1", "remove 1", ""]
    found = store.search(np.concatenate([faces(100, seed=0)[7:8], faces(1, seed=77)]))
    assert [matches[0].person for matches in found] != ["person 0007", "new"]
    assert found[1][0].person == "new"
    assert store.faces_of("person 0007") == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_fork_goes_on(store: GalleryStore) -> None:
    enroll_many(store, 20)
    store.search(faces(1, seed=0))
    stop = threading.Event()

    def enroll_all_the_time() -> None:
        for number in range(10_000):
            if stop.is_set():
                break
            store.enroll("busy", faces(1, seed=number))

    thread = threading.Thread(target=enroll_all_the_time)
    thread.start()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=enroll_in_child, args=(store, number)) for number in range(4)]
    for child in children:
        child.start()
    stop.set()
    thread.join()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    for number in range(4):
        row = faces(1, seed=1000 + number)
        assert store.search(row)[0][0].person == f"child {number}"
    store.check()


def enroll_in_child(store: GalleryStore, number: int) -> None:
    row = faces(1, seed=1000 + number)
    store.enroll(f"child {number}", row)
    assert store.search(row)[0][0].person == f"child {number}"
    store.close()


@pytest.mark.parametrize("how", ["replaced", "removed", "moved"])
def test_another_file_in_its_place(store: GalleryStore, path: Path, how: str) -> None:
    enroll_many(store, 3)
    other = path.with_name("other.db")
    open_store(str(other)).close()
    if how == "replaced":
        other.replace(path)
    elif how == "removed":
        path.unlink()
    else:
        path.rename(path.with_name("elsewhere.db"))
    calls = (lambda: store.enroll("Ada", faces(1, seed=1)), lambda: store.search(faces(1, seed=1)), store.check)
    for call in calls:
        with raises_naming(GalleryError, path):
            call()


def test_the_file_is_this_users_alone(store: GalleryStore, path: Path) -> None:
    enroll_many(store, 3)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}


def test_places_that_are_no_gallery(tmp_path: Path) -> None:
    sound = tmp_path / "sound.db"
    open_store(str(sound)).close()
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("person,e0\n" * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(sound)
    (tmp_path / "loose").symlink_to(tmp_path / "nothing")
    (tmp_path / "twice").write_bytes(sound.read_bytes())
    os.link(tmp_path / "twice", tmp_path / "again")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
    with contextlib.closing(sqlite3.connect(tmp_path / "other")) as other:
        other.execute("CREATE TABLE people (name)")
    (tmp_path / "cut").write_bytes(sound.read_bytes()[:20_000])
    before = {file.name for file in tmp_path.iterdir()}
    for name in before - {"sound.db"}:
        with raises_naming(GalleryError, tmp_path / name):
            open_store(str(tmp_path / name))
    assert {file.name for file in tmp_path.iterdir()} == before
    with pytest.raises(EfqError):
        open_store(str(tmp_path / "text" / "gallery.db"))


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with raises_naming(UsageError, tmp_path / "typo"):
        open_store(str(tmp_path / "typo" / "people.db"))
    assert list(tmp_path.iterdir()) == []


def test_a_newer_schema(path: Path) -> None:
    open_store(str(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 2")
    with raises_naming(GalleryError, 1, 2):
        open_store(str(path))


def test_network_disks_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "_file_system", lambda folder: "nfs4")
    with raises_naming(GalleryError, "nfs4"):
        open_store(str(path))


def test_two_processes_may_make_it_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other is faster by the time between looking for a file and making one."""
    with open_store(str(path)) as first:
        first.enroll("Ada", faces(1, seed=0))
        seen = iter([None])
        real = place.identity_of
        monkeypatch.setattr(
            "efq.runtime.gallery.stores.sqlite.store.identity_of", lambda path: next(seen, None) or real(path)
        )
        with open_store(str(path)) as second:
            assert second.size() == StoreSize(people=1, faces=1)


def damaged(content: bytes, draw: random.Random) -> bytes:
    kind = draw.randrange(3)
    start = draw.randrange(len(content))
    if kind == 0:
        return content[:start] + bytes([content[start] ^ (1 << draw.randrange(8))]) + content[start + 1 :]
    if kind == 1:
        return content[:start] + draw.randbytes(16) + content[start + 16 :]
    return content[:start]


def test_damage_is_found_or_does_not_matter(path: Path) -> None:
    with open_store(str(path)) as store:
        enroll_many(store, 60)
        for number in range(0, 60, 7):
            store.remove(f"person {number:04}")
        reference = Reference(template="best")
        for part in store.export():
            for row, person, face in zip(part.embeddings, part.people.tolist(), part.faces.tolist(), strict=True):
                reference.enroll(person, row[None], [face])
    sound, draw, found = path.read_bytes(), random.Random(0), 0
    probes = faces(60, seed=0)
    for _ in range(150):
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(damaged(sound, draw))
        try:
            with open_store(str(path), create=False) as store:
                reference.expect_found(store.search(probes, 60), probes, 60)
                assert store.size() == StoreSize(people=51, faces=51)
        except EfqError:
            found += 1
    assert found > 20
