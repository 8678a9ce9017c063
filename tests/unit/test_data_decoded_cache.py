"""Decoded faces are kept in the cache, which may be damaged, full, read-only or too small."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import names, raises_naming
from networks import draw_faces, write_faces

from efq.runtime.errors import EfqError
from efq.toolchain.data import FaceSet, open_faces
from efq.toolchain.data.sources import decoding

FACES = draw_faces(people=4, each=2)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_faces(tmp_path_factory.mktemp("faces"), people=4, each=2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EFQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check(faces: FaceSet) -> None:
    np.testing.assert_array_equal(faces.images, FACES)
    assert len(set(faces.pixel_hashes)) == len(set(faces.hashes)) == 8


def test_kept_in_one_file_that_is_read_again(root: Path, cache: Path) -> None:
    first = open_faces(root)
    (entry,) = cache.iterdir()
    os.utime(entry, (1e9, 1e9))
    made = entry.stat().st_ino
    second = open_faces(root)
    check(first)
    check(second)
    assert (first.hashes, first.pixel_hashes, first.paths) == (second.hashes, second.pixel_hashes, second.paths)
    assert entry.stat().st_ino == made
    assert entry.stat().st_mtime > 1e9  # used now


def test_what_killed_runs_left_goes(root: Path, cache: Path) -> None:
    """This version's, and an older one's."""
    cache.mkdir()
    for name in (f".faces-{'0' * 32}.0123456789ab.partial", f".faces-{'0' * 32}.npy.0123456789ab.partial"):
        (cache / name).write_bytes(b"half")
    open_faces(root)
    assert [path.suffix for path in cache.iterdir()] == [""]


def test_writing_to_the_images_changes_no_file(root: Path, cache: Path) -> None:
    for _ in range(2):
        open_faces(root).images[:] = 0
    check(open_faces(root))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_entry_is_made_again(root: Path, cache: Path, data: st.DataObject) -> None:
    open_faces(root)
    (entry,) = cache.iterdir()
    content = bytearray(entry.read_bytes())
    match data.draw(st.sampled_from(["flip", "cut", "longer", "zeros", "empty"])):
        case "flip":
            content[data.draw(st.integers(-400, 400))] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        case "longer":
            content += b"\0" * data.draw(st.integers(1, 99))
        case "zeros":
            start = data.draw(st.integers(0, len(content) - 4096))
            content[start : start + 4096] = bytes(4096)
        case "empty":
            content.clear()
    entry.write_bytes(content)
    check(open_faces(root))
    assert list(cache.iterdir()) == [entry]


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_gone_around(root: Path, cache: Path, make: object) -> None:
    open_faces(root)
    (entry,) = cache.iterdir()
    entry.unlink()
    make(entry)  # type: ignore[operator]
    check(open_faces(root))


@pytest.mark.parametrize("place", ["/proc/efq-cache", "/dev/full", "/dev/null/cache"])
def test_a_cache_that_cannot_be_written_is_a_warning(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    monkeypatch.setenv("EFQ_CACHE", place)
    check(open_faces(root))
    names(caplog.text, "EFQ_CACHE", place)


def test_a_cache_without_room_is_a_warning(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Under a limit of file sizes, which ends a write as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        check(open_faces(root))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    names(caplog.text, "EFQ_CACHE")
    assert not list(cache.iterdir())


def test_neither_cache_nor_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE", "/proc/efq-cache")
    monkeypatch.setattr(decoding, "available_memory", lambda: 1000)
    with raises_naming(EfqError, f"{8 * 112 * 112 * 3:,}", "1,000", "EFQ_CACHE"):
        open_faces(root)


def test_more_than_the_limit_is_not_kept(
    root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("EFQ_CACHE_LIMIT", "100K")
    check(open_faces(root))
    names(caplog.text, "EFQ_CACHE_LIMIT")
    assert not list(cache.iterdir())


def test_older_sets_leave_for_newer_ones(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EFQ_CACHE_LIMIT", "700K")  # two sets of eight faces
    open_faces(root)
    (oldest,) = cache.iterdir()
    os.utime(oldest, (1e9, 1e9))
    open_faces(root, max_images=7)
    assert len(list(cache.iterdir())) == 2
    open_faces(root, max_images=6)
    assert len(list(cache.iterdir())) == 2
    assert not oldest.exists()
