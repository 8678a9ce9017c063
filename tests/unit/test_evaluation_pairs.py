from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages import names, raises_naming

from efq.runtime.errors import InputError
from efq.toolchain.evaluation import read_pairs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.png", "Bob/Bob_0012.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def write(root: Path, text: str) -> Path:
    file = root / "dev_pairs.txt"
    file.write_text(text)
    return file


def test_one_pair_a_line(root: Path) -> None:
    text = "Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\t1\t3\n\nAnn/Ann_0001.jpg\t./Bob/Bob_0001.png\t0\t4\n"
    pairs = read_pairs(write(root, text), root)
    assert pairs.name == "dev_pairs"
    assert pairs.first == ("Ann/Ann_0001.jpg", "Ann/Ann_0001.jpg")
    assert pairs.second == ("Ann/Ann_0002.jpg", "Bob/Bob_0001.png")
    assert pairs.same.tolist() == [True, False]
    assert pairs.folds.tolist() == [3, 4]
    assert pairs.paths == ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.png")


def test_the_format_of_lfw(root: Path) -> None:
    text = "2\t1\nAnn\t1\t2\nAnn\t1\tBob\t1\nBob\t1\t12\nAnn\t2\tBob\t12\n"
    pairs = read_pairs(write(root, text), root)
    assert pairs.first == ("Ann/Ann_0001.jpg", "Ann/Ann_0001.jpg", "Bob/Bob_0001.png", "Ann/Ann_0002.jpg")
    assert pairs.second == ("Ann/Ann_0002.jpg", "Bob/Bob_0001.png", "Bob/Bob_0012.jpg", "Bob/Bob_0012.jpg")
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.folds.tolist() == [0, 0, 1, 1]


GOOD = "Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\t1\t0\n"


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("", ("0 pairs", "0 folds")),
        (GOOD, ("1 pairs", "1 folds")),
        (GOOD + "Ann/Ann_0001.jpg Ann/Ann_0002.jpg 1 1\n", ("line 2",)),
        (
            GOOD + "Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\tyes\t1\n",
            ("line 2", r"Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\tyes\t1"),
        ),
        (GOOD + "Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\t1\tx\n", ("line 2", r"Ann/Ann_0001.jpg\tAnn/Ann_0002.jpg\t1\tx")),
        (GOOD + "\nAnn/Ann_0001.jpg\tAnn/Ann_0009.jpg\t1\t1\n", ("line 3", "Ann/Ann_0009.jpg", "--faces")),
        (GOOD + "Ann/Ann_0001.jpg\t../x.jpg\t1\t1\n", ("line 2", "../x.jpg")),
        ("2\t1\nAnn\t1\t2\n", ("4 pairs", 1)),
        ("1\t1\nAnn\t1\t2\nAnn\t1\tBob\n", ("line 3",)),
        ("1\t1\nAnn\t1\t7\nAnn\t1\tBob\t1\n", ("line 2", "Ann/Ann_0007.jpg")),
    ],
)
def test_errors_name_the_line(root: Path, text: str, facts: tuple[object, ...]) -> None:
    file = write(root, text)
    with raises_naming(InputError, file, *facts):
        read_pairs(file, root)


def test_no_file_and_no_text(root: Path) -> None:
    with raises_naming(InputError, root / "none.txt"):
        read_pairs(root / "none.txt", root)
    (root / "binary.txt").write_bytes(b"\xff\xfe\x00\x81")
    with raises_naming(InputError, root / "binary.txt"):
        read_pairs(root / "binary.txt", root)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(data=st.one_of(st.binary(max_size=200), st.text("Ann/_0123jpgBob.\t\n", max_size=200).map(str.encode)))
def test_any_bytes_are_read_or_refused(root: Path, data: bytes) -> None:
    (root / "any.txt").write_bytes(data)
    try:
        pairs = read_pairs(root / "any.txt", root)
    except InputError:
        return
    assert len(pairs.first) == len(pairs.second) == len(pairs.same) == len(pairs.folds) >= 2


def test_few_pairs_that_folders_contradict_are_named(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And all pairs where the folders name no person are not."""
    for number in range(3, 15):
        (root / f"Ann/Ann_{number:04d}.jpg").touch()
    good = "".join(f"Ann/Ann_0001.jpg\tAnn/Ann_{number:04d}.jpg\t1\t{number % 2}\n" for number in range(2, 15))
    read_pairs(write(root, good), root)
    read_pairs(write(root, good.replace("\t1\t", "\t0\t", 5)), root)
    assert not caplog.records
    read_pairs(write(root, good + "Ann/Ann_0001.jpg\tBob/Bob_0001.png\t1\t0\n"), root)
    (record,) = caplog.records
    names(record.getMessage(), "1 of 14", "line 14", root / "dev_pairs.txt")
