"""The lists of IJB-B and IJB-C as they are published, and as they may be damaged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fuzz_ijb
import numpy as np
import pytest
from ijb_folder import Row, write_ijb, write_list
from messages import raises_naming

from efq.runtime import InputError
from efq.toolchain.evaluation.protocols.ijb import integers
from efq.toolchain.evaluation.protocols.ijb.benchmark import read_ijb
from efq.toolchain.evaluation.protocols.ijb.integers import read_integers
from efq.toolchain.evaluation.protocols.ijb.layout import find_ijb
from efq.toolchain.evaluation.protocols.ijb.lists import read_landmarks, read_media, read_subjects

FACE = np.random.default_rng(0).integers(0, 256, (112, 112, 3), np.uint8)
TEMPLATES = range(1, 9)
PAIRS = [(one, other, int(one % 2 == other % 2)) for one in TEMPLATES for other in TEMPLATES if one < other]
PAIRS += [(2, 1, 0), (4, 1, 0)]  # said twice, the other way round
PROBES = {template: 2 - template % 2 for template in range(3, 40)}
ROWS = [Row(name=f"{place}.png", template=place, media=place, face=None) for place in range(1, 40)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ijb(tmp_path / "IJBC", ROWS, pairs=PAIRS, galleries=({1: 1}, {2: 2}), probes=PROBES)


def write(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_integers_are_read_over_all_borders_of_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(0)
    table = draw.integers(0, 10 ** draw.integers(1, 10, (300, 3)), (300, 3))
    lines = [draw.choice([" ", "\t", "  "]).join(map(str, row)) + draw.choice(["", " ", "\r", "\n"]) for row in table]
    path = write(tmp_path / "table.txt", "\ufeff" + "\n".join(lines))
    for chunk in (50, 61, 1000, 2**22):
        monkeypatch.setattr(integers, "_CHUNK", chunk)
        found = read_integers(path, 3, "numbers")
        assert found.dtype == np.int32
        assert np.array_equal(found, table)


@pytest.mark.parametrize(
    "line",
    ["1 2", "1 2 3 4", "1 2 x", "1 -2 0", "1 2 1.0", "1 2 1e1", "1 2 1234567890", "1 2 \u0663", "1,2,0", "1 2 0\0"],
)
def test_a_line_that_is_no_row_of_integers_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    path = write(tmp_path / "table.txt", "1 2 0\n" * 90 + line + "\n1 2 0\n")
    for chunk in (64, 2**22):
        monkeypatch.setattr(integers, "_CHUNK", chunk)
        with raises_naming(InputError, path, "line 91"):
            read_integers(path, 3, "numbers")


def test_a_line_without_end_is_refused_before_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integers, "_CHUNK", 2**14)
    with raises_naming(InputError, "line"):
        read_integers(write(tmp_path / "table.txt", b"1" * 2**20), 3, "numbers")
    assert read_integers(write(tmp_path / "table.txt", b""), 3, "numbers").shape == (0, 3)


def test_lists_as_they_are_published(tmp_path: Path) -> None:
    media = read_media(write(tmp_path / "media", "1.jpg 1 69544\r\n2.jpg 1 69544\n\n3.jpg 20 7"))
    assert media.names == ("1.jpg", "2.jpg", "3.jpg")
    assert media.templates.tolist() == [1, 1, 20]
    assert media.medias.tolist() == [69544, 69544, 7]
    line = "1.jpg 46.060 62.026 87.785 60.323 68.851 77.656 52.162 99.875 86.450 98.648 0.999"
    landmarks = read_landmarks(write(tmp_path / "landmarks", f"{line}\n{line.replace('1.jpg', '2.jpg')}\n{line}\n"))
    assert landmarks.places == {"1.jpg": 0, "2.jpg": 1}
    assert landmarks.points[1, 0].tolist() == pytest.approx([46.06, 62.026])
    assert landmarks.scores.tolist() == pytest.approx([0.999, 0.999])
    header = "TEMPLATE_ID, SUBJECT_ID, FILENAME, SIGHTING_ID, FACE_X\n"
    rows = '1,83,"img/1, a.jpg",5,1\n1,83,img/2.jpg,6,1\n3,9,frames/3.png,7,1\n'
    assert read_subjects(write(tmp_path / "csv", header + rows)) == {1: 83, 3: 9}
    assert read_subjects(write(tmp_path / "csv", "subject_id,template_id\n4,2\n")) == {2: 4}


FACE_LINE = "a.jpg 1 2 3 4 5 6 7 8 9 10"
DAMAGED: list[tuple[Callable[[Path], object], bytes, int]] = [
    (read_media, b"1.jpg 1 2\n1.jpg 1\n", 2),
    (read_media, b"1.jpg 1 2\n\n\n1.jpg 1 x\n", 4),
    (read_media, b"1.jpg 1 -2\n", 1),
    (read_media, b"../1.jpg 1 2\n", 1),
    (read_media, b"/etc/passwd 1 2\n", 1),
    (read_media, b"a\\..\\b 1 2\n", 1),
    (read_media, b"1.jpg 1 1234567890\n", 1),
    (read_media, b"1.jpg 1 2\n\xff\xfe 1 2\n", 2),
    (read_media, b"1.jpg 1 2\n" + b"1" * 10_000, 2),
    (read_landmarks, f"{FACE_LINE} 1\n{FACE_LINE}\n".encode(), 2),
    (read_landmarks, f"{FACE_LINE} 1.5\n".encode(), 1),
    (read_landmarks, f"{FACE_LINE} -0.5\n".encode(), 1),
    (read_landmarks, f"{FACE_LINE} nan\n".encode(), 1),
    (read_landmarks, FACE_LINE.replace("5", "inf").encode() + b" 1\n", 1),
    (read_landmarks, FACE_LINE.replace("5", "1e30").encode() + b" 1\n", 1),
    (read_landmarks, f"{FACE_LINE} 1\n{FACE_LINE} 0.5\n".encode(), 2),
    (read_subjects, b"1,2\n3,4\n", 1),
    (read_subjects, b"TEMPLATE_ID,SUBJECT_ID\n1\n", 2),
    (read_subjects, b"TEMPLATE_ID,SUBJECT_ID\n1,x\n", 2),
    (read_subjects, b"TEMPLATE_ID,SUBJECT_ID\n1,2\n1,3\n", 3),
    (read_subjects, b"TEMPLATE_ID,SUBJECT_ID,TEMPLATE_ID\n1,2,1\n", 1),
]


@pytest.mark.parametrize(("read", "content", "line"), DAMAGED)
def test_a_damaged_line_is_named(tmp_path: Path, read: Callable[[Path], object], content: bytes, line: int) -> None:
    path = write(tmp_path / "list", content)
    with raises_naming(InputError, path, f"line {line}"):
        read(path)


@pytest.mark.parametrize("read", [read_media, read_subjects])
def test_a_list_of_nothing_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with raises_naming(InputError, tmp_path / "list"):
        read(write(tmp_path / "list", b"\n \n"))


def test_the_lists_of_a_benchmark_are_joined(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="efq"):
        found = read_ijb(folder)
    assert found.pairs is not None
    assert found.probes is not None
    assert len(found) == 39
    assert found.template_ids[found.pairs.first[:3]].tolist() == [1, 1, 1]
    assert found.template_ids[found.pairs.second[:3]].tolist() == [2, 3, 4]
    assert found.pairs.same[:3].tolist() == [False, True, False]
    assert found.template_ids[found.galleries[1].templates].tolist() == [2]
    assert found.probes.subjects[:3].tolist() == [1, 2, 1]
    assert "2 pairs more than once" in caplog.text
    assert "39 images in 39 templates" in caplog.text


@pytest.mark.parametrize("inside", [".", "IJBC", "IJBC/meta"])
def test_a_benchmark_is_found_from_its_folders(folder: Path, inside: str) -> None:
    files = find_ijb(folder.parent / inside)
    assert files.name == "IJB-C"
    assert files.crops.samefile(folder / "loose_crop")
    assert [path.name for path in files.galleries] == ["ijbc_1N_gallery_G1.csv", "ijbc_1N_gallery_G2.csv"]


@pytest.mark.parametrize(
    "missing",
    [
        *("meta/ijbc_face_tid_mid.txt", "meta/ijbc_name_5pts_score.txt", "meta/ijbc_1N_gallery_G2.csv"),
        *("meta/ijbc_1N_probe_mixed.csv", "loose_crop"),
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: str) -> None:
    (folder / missing).rename(folder / "elsewhere")
    with raises_naming(InputError, folder / missing):
        find_ijb(folder)


def test_no_benchmark_or_two_are_refused(folder: Path, tmp_path: Path) -> None:
    for other in (tmp_path / "nothing", folder / "loose_crop", folder / "meta" / "ijbc_face_tid_mid.txt"):
        with raises_naming(InputError, other):
            find_ijb(other)
    write_ijb(tmp_path / "IJBB", ROWS[:1], prefix="ijbb", pairs=PAIRS)
    with raises_naming(InputError, "ijbb_*", "ijbc_*", folder / "meta"):
        find_ijb(tmp_path)
    (tmp_path / "IJBB" / "meta" / "ijbb_template_pair_label.txt").unlink()
    with raises_naming(InputError, "1:1", "1:N"):
        find_ijb(tmp_path / "IJBB")


@pytest.mark.parametrize(
    ("name", "lines", "facts"),
    [
        ("ijbc_template_pair_label.txt", ["1 99 0"], ("99", "ijbc_face_tid_mid.txt")),
        ("ijbc_template_pair_label.txt", ["1 1 1"], ("1 1 1",)),
        ("ijbc_template_pair_label.txt", ["1 2 2"], ("1 2 2",)),
        ("ijbc_template_pair_label.txt", ["1 3 0"], ("1 and 3",)),
        ("ijbc_1N_probe_mixed.csv", ["88,1,a,1"], ("88",)),
        ("ijbc_1N_probe_mixed.csv", ["1,1,a,1"], ("gallery G1", "1")),
        ("ijbc_face_tid_mid.txt", ["new.png 3 1"], ("new.png", "ijbc_name_5pts_score.txt")),
    ],
)
def test_lists_that_do_not_fit_together_are_refused(
    folder: Path, name: str, lines: list[str], facts: tuple[str, ...]
) -> None:
    path = folder / "meta" / name
    path.write_text(path.read_text() + "\n".join(lines))
    with raises_naming(InputError, *facts):
        read_ijb(folder)


def test_too_few_pairs_or_searches_are_refused(folder: Path) -> None:
    pairs = folder / "meta" / "ijbc_template_pair_label.txt"
    kept = pairs.read_text()
    write_list(folder, pairs.name, [" ".join(map(str, pair)) for pair in PAIRS if not pair[2]])
    with raises_naming(InputError, pairs, 10, 0):
        read_ijb(folder)
    pairs.write_text(kept)
    write_list(folder, "ijbc_1N_gallery_G2.csv", ["TEMPLATE_ID,SUBJECT_ID", "2,77"])
    with raises_naming(InputError, "gallery G2", 10, 0):
        read_ijb(folder)


def test_mutated_lists_are_read_or_refused(tmp_path: Path) -> None:
    """As `python tests/scripts/fuzz_ijb.py` with many more."""
    found = list(fuzz_ijb.cases(150, 0, tmp_path))
    assert [(name, result) for name, result in found if result.startswith("HOLE")] == []
    assert {result.partition(",")[0] for _, result in found} == {"read", "refused"}
