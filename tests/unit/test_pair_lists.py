"""Lists of pairs as they are published: layout, separator, encoding and folds are found out, and said."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from extensions import install
from messages import names, raises_naming
from packed_pairs import write_set

from efq.runtime.errors import InputError, UsageError
from efq.toolchain.data import open_source
from efq.toolchain.data.sources.joined import join_sources
from efq.toolchain.evaluation import read_pairs, read_protocol
from efq.toolchain.evaluation.protocols.pair_lists.folds import contiguous_folds, fill_folds, folds_by_class
from efq.toolchain.evaluation.protocols.pair_lists.registry import ENTRY_POINTS, pairs_formats

PEOPLE = ("Ann", "Bob", "Cleo_Ng", "Zoë")
PATHS = [f"{person}/{person}_{number:04d}.jpg" for person in PEOPLE for number in range(1, 7)]
PAIRS = [(one, other, one.split("/")[0] == other.split("/")[0]) for one, other in itertools.combinations(PATHS, 2)]
GENUINE = [pair for pair in PAIRS if pair[2]][:40]
IMPOSTOR = [pair for pair in PAIRS if not pair[2]][:40]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return touch(tmp_path_factory.mktemp("faces"), PATHS)


def touch(root: Path, paths: Sequence[str]) -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).touch()
    return root


def in_folds(count: int = 4) -> list[tuple[str, str, bool, int]]:
    """Twenty pairs, ten of each kind, in `count` folds in turn."""
    return [(*pair, place % count) for place, pair in enumerate([*GENUINE[:10], *IMPOSTOR[:10]])]


SEPARATORS = {"tabs": "\t", "spaces": " ", "commas": ",", "semicolons": ";"}
LABELS = (("1", "0"), ("same", "diff"), ("TRUE", "False"), ("1", "-1"), ("genuine", "impostor"), ("1.0", "0.0"))


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("labels", LABELS)
def test_any_separator_and_spelling(root: Path, tmp_path: Path, separator: str, labels: tuple[str, str]) -> None:
    rows = [(one, other, labels[not same], str(fold)) for one, other, same, fold in in_folds()]
    file = tmp_path / "pairs.txt"
    file.write_text("\r\n".join(SEPARATORS[separator].join(row) for row in rows), encoding="utf-8")
    found = read_pairs(file, root)
    assert found.same.tolist() == [True] * 10 + [False] * 10
    assert found.folds.tolist() == [place % 4 for place in range(20)]
    assert (found.first[0], found.second[19]) == (GENUINE[0][0], IMPOSTOR[9][1])


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("utf-8", ()), ("utf-8-sig", ()), ("utf-16", ("UTF-16",)), ("cp1252", ("Windows-1252",))],
)
def test_encodings_are_found_out(
    root: Path, tmp_path: Path, encoding: str, said: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("Zoë/Zoë_0001.jpg", f"Zoë/Zoë_{number:04d}.jpg", "1", str(number % 2)) for number in range(2, 7)]
    file = tmp_path / "pairs.txt"
    file.write_bytes("\n".join("\t".join(row) for row in rows).encode(encoding))
    with caplog.at_level("INFO"):
        assert read_pairs(file, root).second[0] == "Zoë/Zoë_0002.jpg"
    names(caplog.text, *said)
    assert bool(said) == bool(caplog.text)


def test_without_folds_there_are_ten_by_class(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """AgeDB's and others' `path path label`."""
    file = tmp_path / "agedb_30_pair.txt"
    file.write_text("".join(f"{one} {other} {int(same)}\n" for one, other, same in [*GENUINE, *IMPOSTOR]))
    with caplog.at_level("INFO"):
        found = read_pairs(file, root)
    assert found.folds.tolist() == [*np.repeat(range(10), 4), *np.repeat(range(10), 4)]
    names(caplog.text, file, 80, "ten", "spaces")


def test_a_label_may_come_first(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "lfw_ann.txt"
    file.write_text("".join(f"{int(same)} {one} {other}\n" for one, other, same in [*GENUINE[:5], *IMPOSTOR[:5]]))
    assert read_pairs(file, root).same.tolist() == [True] * 5 + [False] * 5


def test_headings_say_where_columns_are(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    rows = [f'{place},{fold},"{one}",{same},{other}' for place, (one, other, same, fold) in enumerate(in_folds())]
    file.write_text("\n".join([",,,,", "id,Fold,image 1,Is-Same,image 2", *rows, ",,,,", ""]))
    found = read_pairs(file, root)
    assert found.first == tuple(pair[0] for pair in in_folds())
    assert found.second == tuple(pair[1] for pair in in_folds())
    assert found.folds.tolist() == [place % 4 for place in range(20)]
    file.write_text("\n".join(["id,name,image 1,same,image 2", *rows]))
    with raises_naming(InputError, file, "line 1"):
        read_pairs(file, root)


@pytest.mark.parametrize("word", ["same", "match", "genuine"])
@pytest.mark.parametrize("heading", ["", "image1 image2 {} fold\n"])
def test_a_label_is_no_heading(root: Path, tmp_path: Path, word: str, heading: str) -> None:
    """Nor is a heading a label: no pair is lost, and none is made up."""
    rows = [f"{one} {other} {word if same else 'impostor'} {fold + 7}" for one, other, same, fold in in_folds()]
    (tmp_path / "pairs.txt").write_text(heading.format(word) + "\n".join(rows))
    found = read_pairs(tmp_path / "pairs.txt", root)
    assert (len(found), found.first[0]) == (20, GENUINE[0][0])
    if not heading:
        (tmp_path / "pairs.txt").write_text("\n".join(row.rpartition(" ")[0] for row in rows))
        assert len(read_pairs(tmp_path / "pairs.txt", root)) == 20


def test_lfw_in_one_part(root: Path, tmp_path: Path) -> None:
    """View 1: pairsDevTest.txt has a count and no folds."""
    file = tmp_path / "pairsDevTest.txt"
    lines = [f"Ann\t{one}\t{other}" for one, other in itertools.combinations(range(1, 7), 2)]
    lines += [f"Ann\t{place % 6 + 1}\tBob\t{place // 6 + 1}" for place in range(15)]
    file.write_text("\n".join(["15", *lines]))
    found = read_pairs(file, root)
    assert found.same.tolist() == [True] * 15 + [False] * 15
    assert found.folds.tolist() == [*folds_by_class(found.same)]
    assert found.second[15] == "Bob/Bob_0001.jpg"
    file.write_text("\n".join(["15", *lines[:14], "Ann\t1\tBob\t1", *lines[15:]]))
    with raises_naming(InputError, file, "line 16"):
        read_pairs(file, root)


def two_lines(pairs: Sequence[tuple[str, str, bool]], numbers: Sequence[int]) -> str:
    """As pairs_CALFW.txt, of file names alone."""
    rows = [(path.split("/")[1], number) for pair, number in zip(pairs, numbers, strict=True) for path in pair[:2]]
    return "".join(f"{name} {number}\n" for name, number in rows)


def test_calfw_and_cplfw(root: Path, tmp_path: Path) -> None:
    """Two lines a pair; 0 for two people, who have no fold of their own."""
    file = tmp_path / "pairs_CALFW.txt"
    numbers = [place // 4 + 1 for place in range(40)]
    file.write_text(two_lines([*GENUINE, *IMPOSTOR], [*numbers, *[0] * 40]), encoding="utf-8")
    found = read_pairs(file, root)
    assert found.folds.tolist() == [*numbers, *numbers]
    assert (found.first[0], found.second[-1]) == (GENUINE[0][0], IMPOSTOR[-1][1])
    mixed = [pair for both in zip(GENUINE, IMPOSTOR, strict=True) for pair in both]
    file.write_text(two_lines(mixed, [place // 8 + 1 if place % 2 == 0 else 0 for place in range(80)]))
    assert read_pairs(file, root).folds.tolist() == [place // 8 + 1 for place in range(80)]
    file.write_text(two_lines([*GENUINE, *IMPOSTOR], [1] * 40 + [0] * 40))
    assert read_pairs(file, root).folds.tolist() == [*np.repeat(range(10), 4), *np.repeat(range(10), 4)]


@pytest.mark.parametrize(
    ("change", "line"),
    [((" 1\n", " 2\n", 1), "line 2"), ((" 1\n", " x\n", 1), "line 1"), ((" 1\n", "\n", 1), "line 1")],
)
def test_calfw_in_disorder(root: Path, tmp_path: Path, change: tuple[str, str, int], line: str) -> None:
    file = tmp_path / "pairs_CALFW.txt"
    file.write_text(two_lines(GENUINE, [1] * 40).replace(*change))
    with raises_naming(InputError, file, line):
        read_pairs(file, root)


def write_cfp(root: Path, *, folds: int = 10) -> Path:
    """The dataset's Protocol and images: four people, 10 frontal and 4 profile each."""
    lists = {"F": ("frontal", 10), "P": ("profile", 4)}
    for side, (name, each) in lists.items():
        paths = [f"{person:03d}/{name}/{number:02d}.jpg" for person in range(1, 5) for number in range(1, each + 1)]
        touch(root / "Data" / "Images", paths)
        (root / "Protocol").mkdir(exist_ok=True)
        lines = [f"{place} ../Data/Images/{path}\n" for place, path in enumerate(paths, start=1)]
        (root / "Protocol" / f"Pair_list_{side}.txt").write_text("".join(lines))
    for kind, each in (("FF", 10), ("FP", 4)):
        for fold in range(1, folds + 1):
            folder = root / "Protocol" / "Split" / kind / f"{fold:02d}"
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text(f"{fold},{fold % each + 1 if kind == 'FP' else fold % 10 + 1}\n")
            (folder / "diff.txt").write_text(f"{fold},{each + fold % each + 1}\n")
    return root / "Protocol"


def test_cfp_as_published(tmp_path: Path) -> None:
    protocol = write_cfp(tmp_path)
    found = read_pairs(protocol / "Split" / "FP")
    assert found.name == "cfp_fp"
    assert found.first[:2] == ("001/frontal/01.jpg", "001/frontal/01.jpg")
    assert found.second[:2] == ("001/profile/02.jpg", "002/profile/02.jpg")
    assert found.same.tolist() == [True, False] * 10
    assert found.folds.tolist() == [*np.repeat(range(1, 11), 2)]
    frontal = read_pairs(protocol / "Split" / "FF", tmp_path / "Data" / "Images")
    assert (frontal.name, frontal.second[1]) == ("cfp_ff", "002/frontal/02.jpg")
    for folder in (protocol, protocol / "Split"):
        with raises_naming(InputError, folder, "Split/FF", "Split/FP"):
            read_pairs(folder)
    (protocol / "Split" / "FP" / "03" / "diff.txt").write_text("1,99\n")
    with raises_naming(InputError, protocol / "Split" / "FP" / "03" / "diff.txt", "line 1", 40, 16):
        read_pairs(protocol / "Split" / "FP")
    (protocol / "Pair_list_P.txt").unlink()
    with raises_naming(InputError, protocol / "Pair_list_P.txt"):
        read_pairs(protocol / "Split" / "FP")


def test_aligned_copies_of_another_suffix(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, [path.replace(".jpg", ".png") for path in PATHS])
    (tmp_path / "pairs.txt").write_text("".join(f"{a}\t{b}\t{int(same)}\t{fold}\n" for a, b, same, fold in in_folds()))
    with caplog.at_level("INFO"):
        assert read_pairs(tmp_path / "pairs.txt", tmp_path).first[0] == GENUINE[0][0].replace(".jpg", ".png")
    names(caplog.text, tmp_path / "pairs.txt", "suffix")


def test_a_name_of_several_images_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "faces", ["one/a.jpg", "two/a.jpg", "two/b.jpg", "two/c.jpg"])
    (tmp_path / "pairs.txt").write_text("b.jpg c.jpg 1\n" * 2 + "a.jpg b.jpg 0\n" * 2)
    with raises_naming(InputError, tmp_path / "pairs.txt", "a.jpg", "one/a.jpg", "two/a.jpg"):
        read_pairs(tmp_path / "pairs.txt", tmp_path / "faces")


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", ("PNG",)),
        (b"PK\x03\x04\0\0\0\0", ("zip",)),
        (b"a b 1\n\x00\n", ("binary",)),
        (b"a\x81b", ()),
        (b"\xff\xfea", ()),
        (b"one two three four five\n" * 4, ("line 1",)),
        (b"one\n" * 4, ("line 1",)),
        (b"x" * 20_000, ("10,000",)),
        (b"\n" * 2_000_001, ("2,000,000",)),
        (b"Ann/Ann_0001.jpg Ann/Ann_0002.jpg perhaps\n" * 4, ("line 1", "perhaps")),
        (b"Ann/Ann_0001.jpg Ann/Ann_0002.jpg 1\n" * 4, ("4 pairs",)),
    ],
)
def test_other_files_are_named(root: Path, tmp_path: Path, content: bytes, facts: tuple[str, ...]) -> None:
    (tmp_path / "pairs.txt").write_bytes(content)
    with raises_naming(InputError, tmp_path / "pairs.txt", *facts):
        read_pairs(tmp_path / "pairs.txt", root)


def test_folds_are_those_of_scikit_learn() -> None:
    """KFold(10).split(range(23)): test folds of 3, 3, 3 and then 2."""
    assert np.bincount(contiguous_folds(23)).tolist() == [3, 3, 3, 2, 2, 2, 2, 2, 2, 2]
    assert contiguous_folds(4).tolist() == [0, 1, 2, 3]
    assert contiguous_folds(0).tolist() == []
    assert fill_folds(np.array([True] * 4 + [False] * 3), [5, 5, 7, 7, None, None, None]).tolist() == [
        5,
        5,
        7,
        7,
        5,
        5,
        7,
    ]
    assert folds_by_class(np.array([True, True, False])).tolist() == [0, 0, 0]


@pytest.mark.parametrize("by_class", [False, True])
def test_folds_of_a_set_are_those_of_insightface(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, by_class: bool
) -> None:
    """Ten in order; where these would hold one class, by class, and that is said."""
    same = [place < 20 for place in range(40)] if by_class else [place % 4 < 2 for place in range(40)]
    write_set(tmp_path / "lfw.bin", [b"%d" % number for number in range(80)], same)
    with caplog.at_level("INFO"):
        found = read_pairs(tmp_path / "lfw.bin")
    expected = [*np.repeat(range(10), 2), *np.repeat(range(10), 2)] if by_class else [*np.repeat(range(10), 4)]
    assert found.folds.tolist() == expected
    assert ("by class" in caplog.text) == by_class


def test_sets_and_lists_in_one_evaluation(root: Path, tmp_path: Path) -> None:
    """Images of lists keep their paths, those of sets are under their files' names."""
    (tmp_path / "lfw.txt").write_text("".join(f"{a}\t{b}\t{int(same)}\t{fold}\n" for a, b, same, fold in in_folds()))
    for folder in ("", "other"):
        (tmp_path / folder).mkdir(exist_ok=True)
        same = [place % 2 == 0 for place in range(20)]
        write_set(tmp_path / folder / "lfw.bin", [b"%d" % number for number in range(40)], same)
    files = [tmp_path / "lfw.txt", tmp_path / "lfw.bin", tmp_path / "other" / "lfw.bin"]
    protocol = read_protocol(root, pairs_files=files, all_pairs=False)
    assert [pairs.name for pairs in protocol.pair_lists] == ["lfw", "lfw-2", "lfw-3"]
    assert [pairs.first[0] for pairs in protocol.pair_lists] == [
        *(GENUINE[0][0], "lfw.bin/000000.jpg", "lfw.bin-2/000000.jpg")
    ]
    assert all(path in protocol.source for pairs in protocol.pair_lists for path in pairs.paths)
    assert protocol.source.read("lfw.bin-2/000003.jpg") == b"3"
    assert "lfw.bin-2/000040.jpg" not in protocol.source
    assert len(protocol.source.keys()) == len(PATHS) + 80
    alone = read_protocol(None, pairs_files=files[1:2], all_pairs=False)
    assert alone.pair_lists[0].first[0] == "000000.jpg"


def test_faces_that_nothing_is_compared_of(root: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "lfw.bin", [b"%d" % number for number in range(40)], [True, False] * 10)
    with raises_naming(UsageError, root, tmp_path / "lfw.bin", "--faces"):
        read_protocol(root, pairs_files=[tmp_path / "lfw.bin"], all_pairs=False)
    with raises_naming(InputError, tmp_path / "lfw.bin", "--pairs"):
        read_protocol(tmp_path / "lfw.bin")


def test_prefixes_hide_nothing(tmp_path: Path) -> None:
    """A folder of faces with a folder of a set's name."""
    touch(tmp_path / "faces", ["lfw.bin/000000.jpg"])
    packed = open_source(write_set(tmp_path / "lfw.bin", [b"a", b"b"], [True]))
    joined, (prefix,) = join_sources(open_source(tmp_path / "faces"), [packed])
    assert joined.read(f"{prefix}000000.jpg") == b"a"
    assert joined.identity("lfw.bin/000000.jpg") == "lfw.bin"
    assert joined.identity(f"{prefix}000000.jpg") == ""


CODE = """
from efq.toolchain.evaluation import ListedPair, ListedPairs

class Mine:
    name = "mine"

    def recognizes(self, path):
        return path.suffix == ".mine"

    def open(self, path):
        pairs = [ListedPair(f"pair {n}", "Ann/Ann_0001", f"Ann/Ann_000{n}", True, n % 2) for n in range(2, 7)]
        return ListedPairs(name="own", path=path, pairs=pairs, folder=path.parent)

FORMAT = Mine()
"""


@pytest.fixture
def extension(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path / "site", name="toy_pairs", code=CODE, entry_points={ENTRY_POINTS: {"mine": "toy_pairs:FORMAT"}})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    pairs_formats.cache_clear()
    yield
    pairs_formats.cache_clear()


@pytest.mark.usefixtures("extension")
def test_a_format_of_another_package(root: Path, tmp_path: Path) -> None:
    found = read_pairs(tmp_path / "x.mine", root)
    assert (found.name, found.second[0], len(found)) == ("own", "Ann/Ann_0002.jpg", 5)
