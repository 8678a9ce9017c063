"""Where outputs go, what killed processes leave, and which of two runs wins."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from messages import names, raises_naming

from efq.runtime import UsageError
from efq.runtime.cleanup import undo_all
from efq.runtime.files import atomic_directory, atomic_file, atomic_write_bytes, refuse_inputs, reserved, sweep_partials
from efq.runtime.writing import rename
from efq.runtime.writing.partials import partial_name, written_elsewhere

HOLD = """
import sys, time
from pathlib import Path
from efq.runtime.files import {name}
with {name}(Path(sys.argv[1]), {arguments}):
    print("held", flush=True)
    time.sleep(60)
"""
HOLDERS = {"atomic_file": "replace=True", "atomic_directory": "force=True", "reserved": "replace=True"}


def holding(path: Path, name: str) -> subprocess.Popen[str]:
    """Another process that is writing `path`."""
    code = HOLD.format(name=name, arguments=HOLDERS[name])
    process = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize("name", HOLDERS)
def test_what_a_killed_process_left_is_swept_and_nothing_else(name: str, tmp_path: Path) -> None:
    process = holding(tmp_path / "out", name)
    (tmp_path / "mine.partial").write_text("kept")
    (left,) = [path for path in tmp_path.iterdir() if path.name.startswith(".out.")]
    assert sweep_partials(tmp_path) == []
    assert written_elsewhere(tmp_path / "out")
    end(process)
    assert not written_elsewhere(tmp_path / "out")
    assert sweep_partials(tmp_path, "other*") == []
    assert sweep_partials(tmp_path, "out*") == [left]
    assert [path.name for path in tmp_path.iterdir()] == ["mine.partial"]


def test_the_next_run_sweeps_what_was_left_of_its_output_alone(tmp_path: Path) -> None:
    for name in ("out", "[out]", "*"):
        partial_name(tmp_path / name).write_text("left")
    atomic_write_bytes(tmp_path / "[out]", b"new")
    assert len(sweep_partials(tmp_path)) == 2
    (partial_name(tmp_path / "folder") / "inside").mkdir(parents=True)
    with atomic_directory(tmp_path / "folder", force=False):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["[out]", "folder"]


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path) -> None:
    aside = partial_name(tmp_path / "out", "previous")
    aside.mkdir()
    (aside / "old").write_text("")
    assert sweep_partials(tmp_path) == [aside]
    assert (tmp_path / "out" / "old").is_file()


def test_a_sweep_beside_writers_takes_nothing_from_them(tmp_path: Path) -> None:
    """Many writers and a sweeper that never rests: every file is there in the end."""
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            sweep_partials(tmp_path)

    def write(number: int) -> None:
        for count in range(30):
            atomic_write_bytes(tmp_path / f"{number}", bytes([count]))
            with atomic_directory(tmp_path / f"folder{number}", force=True) as folder:
                (folder / "file").write_bytes(bytes([count]))

    sweeper = threading.Thread(target=sweep)
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in (sweeper, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    done.set()
    sweeper.join()
    expected = sorted([*map(str, range(4)), *(f"folder{number}" for number in range(4))])
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


@pytest.mark.parametrize("supported", [True, False])
def test_of_two_runs_on_one_new_output_the_second_fails(
    supported: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not supported:
        monkeypatch.setattr(rename, "_find_renameat2", lambda: None)
    with raises_naming(UsageError, tmp_path / "file", "--force"), atomic_file(tmp_path / "file", replace=False) as late:
        late.write_text("late")
        atomic_write_bytes(tmp_path / "file", b"first", replace=False)
    with raises_naming(UsageError, tmp_path / "out", "--force"), atomic_directory(tmp_path / "out", force=False) as new:
        (new / "late").write_text("")
        with atomic_directory(tmp_path / "out", force=False) as first:
            (first / "first").write_text("")
    assert (tmp_path / "file").read_bytes() == b"first"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["first"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out"]


@pytest.mark.parametrize("name", HOLDERS)
def test_an_output_that_another_run_writes_is_refused_at_once(name: str, tmp_path: Path) -> None:
    process = holding(tmp_path / "out", name)
    try:
        with raises_naming(UsageError, tmp_path / "out"), reserved(tmp_path / "out", replace=False):
            pass
        with raises_naming(UsageError, tmp_path / "out"), atomic_directory(tmp_path / "out", force=False):
            pass
    finally:
        end(process)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EINVAL, None])
def test_a_folder_is_replaced_without_exchange_too(
    code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: object) -> int:
        ctypes.set_errno(code or 0)
        return -1

    monkeypatch.setattr(rename, "_find_renameat2", lambda: None if code is None else call)
    for content in ("old", "new"):
        with atomic_directory(tmp_path / "out", force=True) as folder:
            (folder / content).write_text("")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is of Linux")
def test_there_is_a_folder_at_every_moment(tmp_path: Path) -> None:
    out, missing, done = tmp_path / "out", [], threading.Event()
    with atomic_directory(out, force=False) as folder:
        (folder / "file").write_text("")

    def watch() -> None:
        while not done.is_set():
            if not os.path.exists(out / "file"):  # noqa: PTH110
                missing.append(1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(200):
        with atomic_directory(out, force=True) as folder:
            (folder / "file").write_text("")
    done.set()
    watcher.join()
    assert missing == []


def test_links_stay_and_what_they_lead_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name, target in (("file", "real/file"), ("new", "real/new"), ("folder", "real/folder")):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "real" / "file").write_text("old")
    (tmp_path / "real" / "folder").mkdir()
    atomic_write_bytes(tmp_path / "file", b"written")
    atomic_write_bytes(tmp_path / "new", b"written")
    with atomic_directory(tmp_path / "folder", force=True) as folder:
        (folder / "inside").write_text("")
    assert all((tmp_path / name).is_symlink() for name in ("file", "new", "folder"))
    assert (tmp_path / "real" / "file").read_bytes() == (tmp_path / "real" / "new").read_bytes() == b"written"
    assert (tmp_path / "real" / "folder" / "inside").exists()


def test_permissions_are_those_of_the_umask_or_of_what_was_there(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write_bytes(tmp_path / "file", b"")
        with atomic_directory(tmp_path / "out", force=True):
            pass
        assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "out")] == [0o640, 0o750]
        (tmp_path / "file").chmod(0o604)
        (tmp_path / "out").chmod(0o705)
        atomic_write_bytes(tmp_path / "file", b"")
        with atomic_directory(tmp_path / "out", force=True):
            pass
        assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("file", "out")] == [0o604, 0o705]
    finally:
        os.umask(before)


def odd_places(folder: Path) -> dict[str, Path]:
    os.mkfifo(folder / "fifo")
    (folder / "file").write_text("")
    (folder / "loop").symlink_to("loop")
    (folder / "to-fifo").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    return {name: folder / name for name in ("fifo", "to-fifo", "socket", "loop")} | {
        "device": Path("/dev/null"),
        "stdout": Path("/dev/stdout"),
        "below a file": folder / "file" / "below",
        "name too long": folder / ("a" * 300),
        "null byte": folder / "a\0b",
    }


@pytest.mark.parametrize(
    "case", ["fifo", "to-fifo", "socket", "loop", "device", "below a file", "name too long", "null byte"]
)
def test_places_that_nothing_is_written_to(case: str, tmp_path: Path) -> None:
    path = odd_places(tmp_path)[case]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError):
        atomic_write_bytes(path, b"data")
    with pytest.raises(UsageError), atomic_directory(path, force=True):
        pass
    for folder in (True, False):
        with pytest.raises(UsageError), reserved(path, replace=True, folder=folder):
            pass
    assert sorted(tmp_path.iterdir()) == before


def test_a_long_name_is_written(tmp_path: Path) -> None:
    for name in ("a" * 255, "é" * 127):
        partial_name(tmp_path / name).write_text("left")
        atomic_write_bytes(tmp_path / name, b"data")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()


def test_the_folder_of_the_shell_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    inode = (tmp_path / "work").stat().st_ino
    for path in (Path(), Path(), Path(".."), Path("/"), Path("/proc"), tmp_path / "work"):
        with pytest.raises(UsageError), atomic_directory(path, force=True):
            pass
    assert (tmp_path / "work").stat().st_ino == inode


def test_without_a_home_or_a_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("~nobody-of-this-name").expanduser())
    for _ in range(2):
        with atomic_directory(tmp_path / "out", force=True):
            pass
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UsageError), atomic_directory(Path("out"), force=True):
        pass
    with atomic_directory(tmp_path / "out", force=True):
        pass


def test_an_output_that_is_an_input_is_refused(tmp_path: Path) -> None:
    artifact, faces = tmp_path / "artifact", tmp_path / "faces"
    artifact.mkdir()
    faces.mkdir()
    for path in (artifact / "checksums.sha256", faces / "a.png", tmp_path / "teacher.pt"):
        path.write_text("")
    (tmp_path / "hard.pt").hardlink_to(tmp_path / "teacher.pt")
    (tmp_path / "soft.pt").symlink_to("teacher.pt")
    inputs = {"the teacher": tmp_path / "teacher.pt", "the artifact": artifact, "the faces": faces, "none": None}
    for output in ("teacher.pt", "hard.pt", "soft.pt", "", "artifact", "artifact/out.npz"):
        with raises_naming(UsageError, tmp_path / output):
            refuse_inputs(tmp_path / output, inputs)
    for output in ("student.pt", "faces/out.npz", "new/out"):
        refuse_inputs(tmp_path / output, inputs)


def test_a_failed_run_leaves_no_new_folders(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for path in (tmp_path / "old", tmp_path / "new" / "deep"):
        with pytest.raises(RuntimeError), reserved(path / "out", replace=False):
            raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_signal_undoes_what_is_open(tmp_path: Path) -> None:
    with atomic_directory(tmp_path / "out", force=False) as folder:
        (folder / "half").write_text("")
        undo_all()
        assert list(tmp_path.iterdir()) == []
        folder.mkdir()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with raises_naming(UsageError, tmp_path / "closed" / "out"), reserved(tmp_path / "closed" / "out", replace=False):
        pass


def test_a_disk_without_room_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for a full disk."""
    code = """
import resource, signal, sys
from pathlib import Path
from efq.runtime import UsageError
from efq.runtime.files import atomic_write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    atomic_write_bytes(Path(sys.argv[1]), bytes(100_000))
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], capture_output=True, text=True, check=True)
    names(done.stdout, tmp_path / "out", "-o")
    assert list(tmp_path.iterdir()) == []
