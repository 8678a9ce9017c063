"""Verification sets (.bin): read as data, whatever wrote them, and never carried out."""

from __future__ import annotations

import io
import os
import pickle
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from messages import raises_naming
from packed_pairs import FORMS, PYTHON_2, python_2_set, write_set

from efq.runtime.errors import InputError, UnreadableImageError
from efq.toolchain.data import open_source
from efq.toolchain.data.sources.packed import machine
from efq.toolchain.data.sources.packed.verification_set import VerificationSet
from efq.toolchain.evaluation import read_pairs

EVERY_BYTE = bytes(range(256))
IMAGES = [b"\xff\xd8\xff" + bytes([number]) + EVERY_BYTE[: 20 * number] + b"'\"\\\r\n" for number in range(12)]
IMAGES[1], IMAGES[5] = EVERY_BYTE + EVERY_BYTE, b"\xff" * 300
SAME = [True, False, True, True, False, False]


def check(found: VerificationSet, images: list[bytes] = IMAGES, same: list[bool] = SAME) -> None:
    assert found.pairs.same.tolist() == same
    assert found.keys() == tuple(f"{number:06d}.jpg" for number in range(len(images)))
    assert [found.read(key) for key in found.keys()] == images  # noqa: SIM118
    assert found.pairs.first == found.keys()[::2]
    assert found.pairs.second == found.keys()[1::2]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("form", FORMS)
def test_every_protocol_and_form_is_read(tmp_path: Path, form: str, protocol: int) -> None:
    found = open_source(write_set(tmp_path / "lfw.bin", IMAGES, SAME, form=form, protocol=protocol))
    assert isinstance(found, VerificationSet)
    check(found)
    assert {found.identity(key) for key in found.keys()} == {""}  # noqa: SIM118


@pytest.mark.parametrize("protocol", PYTHON_2)
def test_sets_of_python_2_are_read(tmp_path: Path, protocol: str) -> None:
    (tmp_path / "lfw.bin").write_bytes(python_2_set(IMAGES, SAME, protocol))
    read = pickle.loads((tmp_path / "lfw.bin").read_bytes(), encoding="bytes")  # what was written by hand is right
    assert (list(read[0]), list(read[1])) == (IMAGES, SAME)
    check(VerificationSet(tmp_path / "lfw.bin"))


def test_images_stay_in_the_file(tmp_path: Path) -> None:
    """Eighty megabytes of them: what is kept is where each lies."""
    images = [os.urandom(200_000) for _ in range(400)]
    write_set(tmp_path / "large.bin", images, [True] * 200)
    expected = images[321]
    del images
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = VerificationSet(tmp_path / "large.bin")
    assert found.read("000321.jpg") == expected
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 20 * 2**20


def test_an_image_stored_several_times_is_one(tmp_path: Path) -> None:
    """So that every figure is that of a folder; but the ends of a pair stay two, to be left out as such."""
    images = [*IMAGES[:4], bytes(bytearray(IMAGES[0])), IMAGES[4], IMAGES[7], bytes(bytearray(IMAGES[7]))]
    found = VerificationSet(write_set(tmp_path / "a.bin", images, [True, False, True, True]))
    assert found.pairs.first == ("000000.jpg", "000002.jpg", "000000.jpg", "000006.jpg")
    assert found.pairs.second == ("000001.jpg", "000003.jpg", "000005.jpg", "000007.jpg")
    assert "000004.jpg" not in found
    assert len(found.keys()) == 7


class Call:
    """Pickled as a call of `function`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_set_runs_nothing(tmp_path: Path, protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EFQ_RAN_CODE", raising=False)
    mark = tmp_path / "ran"
    calls = (
        (Call(os.system, f"touch {mark}"), "system"),
        (Call(exec, f"open({str(mark)!r}, 'w')"), "exec"),
        (Call(eval, f"open({str(mark)!r}, 'w')"), "eval"),
        (Call(os.putenv, "EFQ_RAN_CODE", "1"), "putenv"),
        (Call(io.open, str(mark), "w"), "open"),
        (Call(getattr, "text", "upper"), "getattr"),
    )
    pickle.loads(pickle.dumps(calls[0][0], protocol))  # which does run
    mark.unlink()
    for call, name in calls:
        for content in (call, ([call, *IMAGES[1:]], SAME), (IMAGES, [call, *SAME[1:]]), (IMAGES, SAME, call)):
            (tmp_path / "hostile.bin").write_bytes(pickle.dumps(content, protocol=protocol))
            named = () if content is call and protocol < 2 else (name,)  # which begins as no set does
            with raises_naming(InputError, tmp_path / "hostile.bin", *named):
                read_pairs(tmp_path / "hostile.bin")
    assert not mark.exists()
    assert "EFQ_RAN_CODE" not in os.environ


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ((IMAGES[:3], [True]), ("3", "1")),
        ((IMAGES, [*SAME[:5], 2]), ("2",)),
        (([], []), ("0",)),
        ((IMAGES, [*SAME[:5], None]), ("None",)),
        ((IMAGES, "text"), ("text",)),
        ((["text", *IMAGES[1:]], SAME), ("0",)),
        ((IMAGES,), ("1",)),
        ({"images": IMAGES}, ("EMPTY_DICT",)),
        ((np.zeros((12, 8, 8, 3), np.uint8), SAME), ("4 dimensions",)),
        (([np.zeros((8, 8), np.uint8)] * 12, SAME), ("2 dimensions",)),
        ((IMAGES, np.zeros(6, np.float32)), ("f4",)),
        ((IMAGES, np.array([object()] * 6)), ("O8",)),
        ((IMAGES, [10**30] * 6), ("13",)),
        (IMAGES, ("12",)),
        (7, ("7",)),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: Any, facts: tuple[str, ...]) -> None:
    (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content, protocol=2))
    with raises_naming(InputError, tmp_path / "lfw.bin", *facts):
        VerificationSet(tmp_path / "lfw.bin")


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"", ("empty",)),
        (b"<html><body>404", ("HTML",)),
        (b"version https://git-lfs.github.com/spec/v1\n", ("LFS",)),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 20, ("PNG",)),
        (b"just some text", ()),
        (pickle.dumps((IMAGES, SAME), protocol=4)[:-40], ()),
        (b"\x80\x02]q\0(T\xff\xff\xff\xffabc", ()),
        (b"\x80\x02\x8e" + b"\xff" * 8, ()),
        (b"\x80\x09N.", ()),
        (b"\x80\x02" + b"]" * 10, ()),
        (b"\x80\x02h\x05.", ()),
        (b"\x80\x02(((((e.", ()),
    ],
)
def test_other_files_are_named(tmp_path: Path, content: bytes, facts: tuple[str, ...]) -> None:
    (tmp_path / "lfw.bin").write_bytes(content)
    with raises_naming(InputError, tmp_path / "lfw.bin", *facts):
        open_source(tmp_path / "lfw.bin")


def test_instructions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MOST_INSTRUCTIONS", 1000)
    (tmp_path / "long.bin").write_bytes(b"\x80\x02" + b"]" * 1000 + b".")
    with raises_naming(InputError, tmp_path / "long.bin", "1,000"):
        VerificationSet(tmp_path / "long.bin")


def test_what_cannot_be_read_of_an_image_is_said_of_it(tmp_path: Path) -> None:
    """Text of which no bytes can be made: the others are there."""
    content = pickle.dumps(([bytes([200] * 9), *IMAGES[1:]], SAME), protocol=2).replace(
        "È".encode() * 9, "Ā".encode() * 9
    )
    (tmp_path / "lfw.bin").write_bytes(content)
    found = VerificationSet(tmp_path / "lfw.bin")
    with raises_naming(UnreadableImageError, "000000.jpg"):
        found.read("000000.jpg")
    assert found.read("000003.jpg") == IMAGES[3]


def test_a_file_that_changes_meanwhile_is_found_out(tmp_path: Path) -> None:
    found = VerificationSet(write_set(tmp_path / "lfw.bin", IMAGES, SAME))
    before = found.fingerprint("000002.jpg")
    write_set(tmp_path / "lfw.bin", IMAGES[::-1], SAME, protocol=3)
    with raises_naming(InputError, tmp_path / "lfw.bin"):
        found.read("000002.jpg")
    assert VerificationSet(tmp_path / "lfw.bin").fingerprint("000002.jpg") != before
