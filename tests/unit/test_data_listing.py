"""Lists of images as people write them, in every editor and on every system."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from messages import names, raises_naming

from efq.runtime.errors import InputError
from efq.toolchain.data import open_source
from efq.toolchain.data.listing import find_key, read_listing

KEYS = ("ann/1.jpg", "bob lee/2.jpg", "josé/3.jpg")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for key in KEYS:
        (tmp_path / "faces" / key).parent.mkdir(parents=True)
        (tmp_path / "faces" / key).touch()
    return tmp_path / "faces"


def read(root: Path, content: bytes) -> list[str]:
    file = root.parent / "list.txt"
    file.write_bytes(content)
    return read_listing(file, open_source(root))


WRITINGS: list[Callable[[Path], bytes]] = [
    lambda root: "\n".join(KEYS).encode(),
    lambda root: b"\xef\xbb\xbf" + "\r\n".join(KEYS).encode() + b"\r\n",
    lambda root: "\r".join(KEYS).encode(),
    lambda root: "\n\n  \n".join(f"./{key}  \t7" for key in KEYS).encode(),
    lambda root: "\n".join(KEYS).replace("/", "\\").encode(),
    lambda root: "\n".join(str(root / key) for key in KEYS).encode(),
    lambda root: unicodedata.normalize("NFD", "\n".join(KEYS)).encode(),
    lambda root: "\n".join((*KEYS, *KEYS)).encode(),
]


@pytest.mark.parametrize("writing", WRITINGS)
def test_the_same_list_in_every_writing(root: Path, writing: Callable[[Path], bytes]) -> None:
    assert read(root, writing(root)) == sorted(KEYS)


def test_names_with_spaces_and_separators_of_lines(root: Path) -> None:
    for name in (" a.jpg", "b.jpg ", "c\x0b\u2028d.jpg"):
        (root / "ann" / name).touch()
        assert read(root, f"ann/{name}\n".encode()) == [f"ann/{name}"]


def test_accents_on_disk_in_the_other_form(tmp_path: Path) -> None:
    (tmp_path / unicodedata.normalize("NFD", "é")).mkdir()
    (tmp_path / unicodedata.normalize("NFD", "é") / "1.jpg").touch()
    assert find_key("é/1.jpg", open_source(tmp_path)) == unicodedata.normalize("NFD", "é/1.jpg")


def test_unknown_names_are_counted_and_the_first_named(root: Path) -> None:
    lines = [KEYS[0], *(f"nobody/{number}.jpg" for number in range(5)), "/etc/hostname", "../faces/ann/1.jpg"]
    with raises_naming(InputError, 7, "line 2", "'nobody/0.jpg'", "line 4", "--faces") as caught:
        read(root, "\n".join(lines).encode())
    assert "nobody/4.jpg" not in str(caught.value)


@pytest.mark.parametrize("line", ["a" * 5000, "a\u0000b", "/" * 300, ".", "..", "ann", "\\\\server\\share\\1.jpg"])
def test_lines_that_name_no_file(root: Path, line: str) -> None:
    with pytest.raises(InputError):
        read(root, f"{KEYS[0]}\n{line}\n".encode())


def test_a_pairs_file_is_no_list(root: Path) -> None:
    with raises_naming(InputError, "--pairs", "line 1"):
        read(root, f"{KEYS[0]}\t{KEYS[1]}\t0\t3\n".encode())


@pytest.mark.parametrize(
    ("content", "fact"), [(b"", "none"), ("x".encode("utf-16"), "UTF-16"), (b"\xff\xd8\xff\xe0", "JPEG")]
)
def test_what_is_no_list_of_text(root: Path, content: bytes, fact: str) -> None:
    with raises_naming(InputError, root.parent / "list.txt", fact):
        read(root, content)


def test_a_named_pipe_is_not_waited_for(root: Path) -> None:
    os.mkfifo(root.parent / "pipe")
    with raises_naming(InputError, root.parent / "pipe", "named pipe"):
        read_listing(root.parent / "pipe", open_source(root))


def test_lines_of_one_image_are_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    read(root, "\n".join([KEYS[0]] * 4).encode())
    names(caplog.text, 3)
