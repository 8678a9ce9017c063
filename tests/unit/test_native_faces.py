"""The script that compares EFQ's own kernels with the integer reference on real faces, in short: on drawn ones."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import native_faces
import pytest
from messages import names
from networks import make_student, randomize, teacher_network, write_faces

from efq.runtime.native.library import instruction_sets, library_path
from efq.toolchain.student import Student, save_student

pytestmark = pytest.mark.skipif(library_path() is None, reason="the kernels were not built: make native")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    student = make_student(randomize(teacher_network(), slopes=(-0.3, 0.1, 0.4)), size=112)
    save_student(student, tmp_path / "student.pt")
    faces = write_faces(tmp_path / "faces", people=6)
    return [str(tmp_path / "student.pt"), "--faces", str(faces), "--maps", "2"]


def test_no_byte_differs_on_any_instruction_set(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert native_faces.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(instruction_sets())
    for line in lines:
        names(line, "embeddings of 18 faces: 0 of", "maps of 2: 0 of")
        assert " 0 of 0 " not in line


def test_a_byte_that_differs_is_told(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = native_faces.reference_embeddings

    def changed(student: Student, images: native_faces.Images) -> Iterator[native_faces.Embeddings]:
        for found in original(student, images):
            found.view("u1")[0, 0] ^= 1
            yield found

    monkeypatch.setattr(native_faces, "reference_embeddings", changed)
    assert native_faces.main([*arguments, "--most", "15"]) == 1
    names(capsys.readouterr().out, "15 faces: 1 of")


def test_a_map_that_differs_is_told(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = native_faces.NativePlan.read

    def changed(*given: object) -> object:
        found = original(*given)
        found[0, 0, 0] ^= 1
        return found

    monkeypatch.setattr(native_faces.NativePlan, "read", changed)
    assert native_faces.main(arguments) == 1
    names(capsys.readouterr().out, "embeddings of 18 faces: 0 of")
