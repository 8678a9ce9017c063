"""The one reader of files: what is no regular file of a bounded size ends at once, and text is UTF-8."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import raises_naming

from efq.runtime.errors import CheckpointError, InputError
from efq.runtime.file_kinds import FileKind, kind_of_bytes
from efq.runtime.reading import parse_json, read_bytes, read_json, read_text

KIND_CASES = {
    "jpeg": b"\xff\xd8\xff\xe0",
    "png": b"\x89PNG\r\n\x1a\n",
    "webp": b"RIFF\x10\0\0\0WEBPVP8 ",
    "heic": b"\0\0\0\x18ftypheic",
    "avif": b"\0\0\0\x18ftypavif",
    "video": b"\0\0\0\x18ftypisom",
    "zip": b"PK\x03\x04",
    "pickle": b"\x80\x02}q",
    "onnx": b"\x08\x07\x12\x07pytorch",
    "tflite": b"\x1c\0\0\0TFL3",
    "hdf5": b"\x89HDF\r\n\x1a\n",
    "lfs": b"version https://git-lfs.github.com/spec/v1\n",
    "html": b"\n<!DOCTYPE html><html>",
    "tar": bytes(257) + b"ustar",
    "empty": b"",
    "zeros": bytes(600),
}


def pipe(path: Path) -> None:
    os.mkfifo(path)


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(20 * 10**9)


@pytest.mark.parametrize("make", [pipe, bound_socket, sparse, Path.mkdir])
def test_what_is_no_regular_file_of_that_size_ends_at_once(make: object, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path / "x")
    with raises_naming(CheckpointError, tmp_path / "x", "a list"):
        read_bytes(tmp_path / "x", limit=100, expected="a list", error_class=CheckpointError)


@pytest.mark.parametrize("path", ["/dev/zero", "nowhere", "a\0b"])
def test_no_file_is_said(path: str) -> None:
    with raises_naming(InputError, path, "a list"):
        read_bytes(Path(path), limit=100, expected="a list")


def test_a_file_may_be_as_large_as_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    assert read_bytes(tmp_path / "x", limit=100, expected="a list") == bytes(100)
    with raises_naming(InputError, 99):
        read_bytes(tmp_path / "x", limit=99, expected="a list")


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes("path,é".encode("utf-8-sig"))
    assert read_text(tmp_path / "x", expected="a list") == "path,é"


@pytest.mark.parametrize(
    ("content", "fact"), [("é".encode("latin-1"), "UTF-8"), ("ab".encode("utf-16"), "UTF-16"), (b"\0a", "binary")]
)
def test_another_encoding_is_said(content: bytes, fact: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with raises_naming(InputError, tmp_path / "x", fact):
        read_text(tmp_path / "x", expected="a list")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "NaN", "9" * 5000, '{"a": 1, "a": 2}', r'"\ud800"', ""])
def test_what_is_no_json_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    with raises_naming(InputError, tmp_path / "x", "JSON"):
        read_json(tmp_path / "x", expected="a record")


@given(st.text())
def test_any_text_is_json_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        parse_json(text, "a record at x")


@pytest.mark.parametrize(("name", "start"), KIND_CASES.items())
def test_kinds_are_known_by_their_first_bytes(name: str, start: bytes) -> None:
    kind = kind_of_bytes(start)
    assert isinstance(kind, FileKind)
    assert kind.name == name


@given(st.binary(max_size=600))
def test_any_bytes_have_a_kind_or_none(start: bytes) -> None:
    kind = kind_of_bytes(start)
    assert kind is None or kind.sentence
