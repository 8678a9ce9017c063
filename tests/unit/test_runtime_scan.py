"""One pass over a folder of faces: what it finds, and what it says of the rest."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import names, raises_naming

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.faces.scan import scan_folder

FOLDERS = ["a", "b", "Ann Lee", "é", ".hidden", "__MACOSX", "@eaDir", "x.jpg"]
FILES = ["1.jpg", "2.PNG", "3.jpeg", "._1.jpg", ".DS_Store", "Thumbs.db", "4.heic", "5.HEIC", "noext", "6.txt"]


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@st.composite
def trees(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Paths of files, and of links with where they lead to."""
    folder = st.lists(st.sampled_from(FOLDERS), max_size=3).map("/".join)
    files = draw(st.lists(st.tuples(folder, st.sampled_from(FILES)), max_size=12))
    links = draw(st.lists(st.tuples(folder, st.sampled_from(["l", "m", "z.jpg"]), folder), max_size=4))
    found = [(f"{above}/{name}".strip("/"), "") for above, name in files]
    return found + [(f"{above}/{name}".strip("/"), target or ".") for above, name, target in links]


def build(root: Path, tree: list[tuple[str, str]]) -> None:
    for path, target in tree:
        place = root / path
        if any(part.is_file() or part.is_symlink() for part in [place, *place.parents]):
            continue
        if target:
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(root / target)
        elif not place.exists():
            touch(place)


def is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def folders_that_count(root: Path) -> set[Path]:
    """Real paths of all folders that are reached without a hidden name: an independent, slow way."""
    found = {root.resolve()}
    while True:
        entries = [path for folder in found for path in folder.iterdir()]
        below = {path.resolve() for path in entries if path.is_dir() and not is_hidden(path.name)}
        if below <= found:
            return found
        found |= below


@settings(max_examples=60, deadline=None)
@given(trees())
def test_a_scan_is_what_a_slow_one_finds(tree: list[tuple[str, str]]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        build(root, tree)
        scan = scan_folder(root)
        entries = [path for folder in folders_that_count(root) for path in folder.iterdir()]
        files = [path for path in entries if path.is_file()]
        shown = [path for path in files if not path.name.startswith(".") and path.name != "Thumbs.db"]
        images = [path for path in shown if path.suffix.lower() in IMAGE_SUFFIXES]
        assert sorted((root / key).parent.resolve() / Path(key).name for key in scan.images) == sorted(images)
        assert list(scan.images) == sorted(scan.images, key=lambda key: key.split("/"))
        assert len(scan.unread) == len(shown) - len(images)
        assert len(scan.hidden_files) == len(files) - len(shown)
        assert len(scan.broken_links) == len([path for path in entries if not path.exists()])
        hidden = [path for path in entries if path.is_dir() and is_hidden(path.name)]
        assert len(scan.hidden_folders) == len(hidden)
    finally:
        shutil.rmtree(root)


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    for name in ("ann/1.jpg", "ann/2.heic", "ann/3.heic", "bob/4.gif", ".ipynb_checkpoints/5.jpg", "ann/Thumbs.db"):
        touch(tmp_path / name)
    os.mkfifo(tmp_path / "ann" / "pipe.jpg")
    (tmp_path / "bob" / "gone.jpg").symlink_to(tmp_path / "nothing")
    scan = scan_folder(tmp_path)
    assert scan.images == ("ann/1.jpg",)
    assert not scan.left_out.all_expected
    names(str(scan.left_out), ".heic 2", ".gif 1", ".ipynb_checkpoints", "bob/gone.jpg", "ann/pipe.jpg")


def test_documents_and_litter_are_expected(tmp_path: Path) -> None:
    for name in ("ann/1.jpg", "README.md", "list.txt", "__MACOSX/ann/._1.jpg", "ann/.DS_Store"):
        touch(tmp_path / name)
    scan = scan_folder(tmp_path)
    assert scan.left_out.all_expected
    names(str(scan.left_out), ".md 1", ".txt 1", "__MACOSX")


def test_links_are_followed_once(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "faces", tmp_path / "elsewhere"
    touch(root / "all" / "ann" / "1.jpg")
    touch(elsewhere / "bob" / "2.jpg")
    (root / "a-loop").symlink_to(root)
    (root / "a-subset").symlink_to(root / "all")
    (root / "more").symlink_to(elsewhere)
    scan = scan_folder(root)
    assert scan.images == ("all/ann/1.jpg", "more/bob/2.jpg")
    assert scan.linked_again == ("a-loop", "a-subset")


def test_a_folder_that_may_not_be_read_is_named() -> None:
    """As an ordinary user: root may read all."""
    root = Path(tempfile.mkdtemp(dir="/tmp"))
    user = os.geteuid()
    try:
        touch(root / "ann" / "1.jpg")
        touch(root / "bob" / "2.jpg")
        (root / "bob").chmod(0)
        root.chmod(0o755)
        if user == 0:
            os.seteuid(65534)
        assert scan_folder(root).images == ("ann/1.jpg",)
        assert scan_folder(root).unreadable == ("bob",)
        with raises_naming(InputError, root / "bob", "Permission denied"):
            scan_folder(root / "bob")
    finally:
        os.seteuid(user)
        (root / "bob").chmod(0o700)
        shutil.rmtree(root)


@pytest.mark.parametrize("name", ["missing", "file"])
def test_what_is_no_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with raises_naming(InputError, tmp_path / name):
        scan_folder(tmp_path / name)
