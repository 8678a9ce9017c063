"""The cache folder: bounded, swept of what killed processes left, and reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from messages import names, raises_naming

from efq.runtime.cache import DEFAULT_LIMIT, cache_limit, examine_cache, make_room, mark_used, new_entry, sweep
from efq.runtime.errors import UsageError

WRITER = """
import sys, time
from pathlib import Path
from efq.runtime.cache import new_entry
with new_entry(Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("text", "limit"),
    [("", DEFAULT_LIMIT), ("0", 0), ("500M", 500 * 2**20), ("2 GiB", 2 * 2**30), ("1t", 2**40), ("12", 12)],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, text: str, limit: int) -> None:
    monkeypatch.setenv("EFQ_CACHE_LIMIT", text)
    assert cache_limit() == limit


@pytest.mark.parametrize("text", ["much", "-1", "1e9", "nan", "5 parsecs", "9" * 30])
def test_what_is_no_limit(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("EFQ_CACHE_LIMIT", text)
    with raises_naming(UsageError, "EFQ_CACHE_LIMIT", text):
        cache_limit()
    names(examine_cache().problem, "EFQ_CACHE_LIMIT")


def test_an_entry_is_whole_or_not_there(tmp_path: Path) -> None:
    with new_entry(tmp_path / "folder" / "entry") as temporary:
        temporary.write_bytes(b"all")
        temporary.replace(tmp_path / "folder" / "entry")
    with pytest.raises(RuntimeError), new_entry(tmp_path / "folder" / "other"):
        raise RuntimeError
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["entry"]


def test_what_a_killed_process_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    entry = tmp_path / "entry"
    entry.write_bytes(b"kept")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(entry)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    sweep(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    writer.kill()
    writer.wait()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [entry]
    writer.stdout.close()


def test_room_is_made_of_what_was_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE_LIMIT", "1000")
    for age, name in enumerate(("faces-new", "faces-middle", "faces-old", "other-oldest")):
        (tmp_path / name).write_bytes(bytes(250))
        os.utime(tmp_path / name, (1e9 - age, 1e9 - age))
    make_room(tmp_path, "faces-*", 0)
    assert len(list(tmp_path.iterdir())) == 4
    mark_used(tmp_path / "faces-old")
    make_room(tmp_path, "faces-*", 300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["faces-old", "other-oldest"]
    make_room(tmp_path, "faces-*", 10_000)
    assert [path.name for path in tmp_path.iterdir()] == ["other-oldest"]


def test_the_report_counts_bytes_and_names_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    assert examine_cache().problem is None
    (tmp_path / "cache" / "deep").mkdir(parents=True)
    (tmp_path / "cache" / "deep" / "file").write_bytes(bytes(7))
    (tmp_path / "cache" / "link").symlink_to("/dev/zero")
    report = examine_cache()
    assert (report.folder, report.bytes, report.limit) == (str(tmp_path / "cache"), 7, DEFAULT_LIMIT)
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache" / "deep" / "file" / "below"))
    names(examine_cache().problem, tmp_path / "cache" / "deep" / "file")
