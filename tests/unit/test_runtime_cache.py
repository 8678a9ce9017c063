"""The cache folder: bounded and reported."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from messages import names, raises_naming

from efq.runtime.errors import UsageError
from efq.runtime.machine.cache import DEFAULT_LIMIT, cache_limit, examine_cache, make_room, mark_used


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
