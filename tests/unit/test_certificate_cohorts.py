"""Tables of cohorts as people keep them, and those that are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import names, raises_naming

from efq.runtime.errors import EfqError, InputError
from efq.toolchain.data import FaceSet
from efq.toolchain.evaluation.certificate.cohort_file import CohortLabels, read_cohorts

PATHS = ("lfw/ann/1.jpg", "lfw/ann/2.jpg", "lfw/bob/1.jpg", "lfw/cy, jr/1.jpg")
FACES = FaceSet(
    source="faces",
    paths=PATHS,
    labels=np.array([0, 0, 1, 2]),
    identities=("lfw/ann", "lfw/bob", "lfw/cy, jr"),
    hashes=("0" * 64,) * 4,
    pixel_hashes=("0" * 64,) * 4,
    unreadable=(),
    images=np.zeros((4, 1, 1, 3), np.uint8),
)


def read(folder: Path, text: str | bytes) -> CohortLabels:
    path = folder / "cohorts.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_cohorts(path, FACES, np.arange(4))


@pytest.mark.parametrize(
    "text",
    [
        'lfw/ann,x\nlfw/bob,y\n"lfw/cy, jr",y\n',
        "identity\tgroup\nlfw/ann\tx\nlfw/bob\ty\nlfw/cy, jr\ty\n",
        "\ufefflfw/ann;x\r\n\r\nlfw/bob;y\r\nlfw\\cy, jr;y\r\n",
        'lfw/ann/1.jpg,x\nlfw/ann,y\nlfw/ann/2.jpg,x\nlfw/bob,y\n"lfw/cy, jr/1.jpg",y',
    ],
)
def test_identities_and_paths(tmp_path: Path, text: str) -> None:
    found = read(tmp_path, text)
    assert found.names == ("x", "y")
    assert found.places.tolist() == [0, 0, 1, 1]
    assert (found.file, len(found.sha256)) == ("cohorts.csv", 64)


def test_images_of_no_cohort(tmp_path: Path) -> None:
    assert read(tmp_path, "lfw/ann/2.jpg,x\nlfw/bob,y\n").places.tolist() == [-1, 0, 1, -1]


def test_rows_that_name_nothing_are_said_but_for_a_header(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = "lfw/ann,x\nlfw/bob,y\n"
    read(tmp_path, "identity,group\n" + table)
    assert not caplog.messages
    assert read(tmp_path, table + '"lfw/cy jr",y\n').places.tolist() == [0, 0, 1, -1]
    names(caplog.text, "1 rows", "'lfw/cy jr'", "1 of 4 images")


def test_a_table_of_more_people_than_the_faces(tmp_path: Path) -> None:
    others = "".join(f"lfw/other{place},x\n" for place in range(9))
    assert read(tmp_path, f'{others}lfw/ann,x\nlfw/bob,y\n"lfw/cy, jr",y\n').places.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ("lfw/ann",)),
        ("ann,x\nbob,y\n", ("ann", "lfw/ann/1.jpg")),
        ('lfw/ann,"x\ny"\nlfw/bob,y\n', (100,)),
        ("lfw/ann,x\nlfw/bob,x\n", (1,)),
        ("lfw/ann,x\nlfw/bob,y\nlfw/ann,y\n", ("lfw/ann", 3)),
        ("lfw/ann,x\nlfw/bob\n", (1,)),
        ("lfw/ann,x,y\nlfw/bob,y,z\n", (3,)),
        ("lfw/ann,\nlfw/bob,y\n", (100,)),
        ("lfw/ann,a\x1b[31m\nlfw/bob,y\n", (100,)),
        (b"\xff\xfel\x00f\x00w\x00", ("UTF-16",)),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), ("PNG",)),
    ],
)
def test_what_is_no_such_table_is_refused(tmp_path: Path, text: str | bytes, facts: tuple[object, ...]) -> None:
    with raises_naming(InputError, tmp_path / "cohorts.csv", *facts):
        read(tmp_path, text)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text('lfw/anb1.jpg,;\t"\n x', max_size=60))
def test_any_other_content_is_read_or_refused(tmp_path: Path, content: bytes | str) -> None:
    try:
        assert len(read(tmp_path, content).places) == 4
    except EfqError as error:
        str(error).encode()
