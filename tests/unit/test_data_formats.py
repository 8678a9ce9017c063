"""Face formats of other packages: found through entry points, asked first, and harmless when they are broken."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from extensions import install
from messages import raises_naming

from efq.runtime.errors import InputError
from efq.toolchain.data import open_source
from efq.toolchain.data.sources.folder import FolderSource
from efq.toolchain.data.sources.registry import ENTRY_POINTS, face_formats

CODE = '''
class Marked:
    """A folder with a file that says what it is."""

    name = "marked"

    def recognizes(self, path):
        return (path / "mark").is_file()

    def open(self, path):
        return ("opened", path)

class Raising:
    name = "raising"

    def recognizes(self, path):
        raise RuntimeError("no answer")

    def open(self, path):
        raise AssertionError

marked, raising, number = Marked(), Raising(), 7
'''
POINTS = {
    "marked": "toy_faces:marked",
    "raising": "toy_faces:raising",
    "number": "toy_faces:number",
    "class": "toy_faces:Marked",
    "absent": "toy_faces_that_are_not_there:x",
}


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path / "site", name="toy_faces", code=CODE, entry_points={ENTRY_POINTS: POINTS})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    face_formats.cache_clear()
    yield
    face_formats.cache_clear()


@pytest.mark.usefixtures("extension")
def test_a_format_of_another_package_comes_before_the_folder(tmp_path: Path) -> None:
    names_in_order = [one.name for one in face_formats()]
    assert (names_in_order[:2], names_in_order[-1]) == (["marked", "raising"], "folder")
    (tmp_path / "mark").touch()
    assert open_source(tmp_path) == ("opened", tmp_path)


@pytest.mark.usefixtures("extension")
def test_broken_formats_are_named_and_break_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert isinstance(open_source(tmp_path), FolderSource)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 4
    for name in ("absent", "class", "number", "raising"):
        assert any(name in warning for warning in warnings)


@pytest.mark.usefixtures("extension")
def test_what_no_format_recognizes_names_them(tmp_path: Path) -> None:
    with raises_naming(InputError, tmp_path / "nothing", "marked", "raising", "folder"):
        open_source(tmp_path / "nothing")
