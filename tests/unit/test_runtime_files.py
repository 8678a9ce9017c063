from __future__ import annotations

import sys
from pathlib import Path

import pytest
from messages import raises_naming

from efq.runtime import UsageError
from efq.runtime.files import atomic_directory, atomic_write_bytes, atomic_write_text, cache_folder


def test_writes_the_bytes_and_leaves_nothing_beside(tmp_path: Path) -> None:
    atomic_write_bytes(tmp_path / "new" / "a.bin", b"one")
    atomic_write_bytes(tmp_path / "new" / "a.bin", b"two")
    atomic_write_text(tmp_path / "new" / "b.txt", "ü")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.bin", "b.txt"]
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"two"
    assert (tmp_path / "new" / "b.txt").read_bytes() == "ü".encode()


def test_a_place_that_cannot_be_written_is_a_usage_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "folder", tmp_path / "file" / "below"):
        with raises_naming(UsageError, path, "-o"):
            atomic_write_bytes(path, b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"

    def fail_halfway() -> None:
        with atomic_directory(target, force=False) as folder:
            (folder / "half").write_text("")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert list(tmp_path.iterdir()) == []
    with atomic_directory(target, force=False) as folder:
        (folder / "whole").write_text("")
        assert not target.exists()
    assert [path.name for path in target.iterdir()] == ["whole"]


def test_an_existing_folder_is_replaced_only_by_force(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with atomic_directory(target, force=False) as folder:
        (folder / "first").write_text("")
    with raises_naming(UsageError, target, "--force"), atomic_directory(target, force=False):
        pass
    with atomic_directory(target, force=True) as folder:
        (folder / "second").write_text("")
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_force_never_replaces_a_file_or_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "file").write_text("kept")
    monkeypatch.chdir(tmp_path / "work")
    for path in (tmp_path / "file", tmp_path, Path("..")):
        with pytest.raises(UsageError), atomic_directory(path, force=True):
            pass
    assert (tmp_path / "file").read_text() == "kept"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("EFQ_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == Path("/xdg/efq")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library/Caches/efq"
