"""Read mutated pairs: `python tests/scripts/fuzz_pairs.py --format bin --count 20000 --seed 0`, or `--format lists`.

Verification sets of every protocol, changed in their bytes and their instructions, and published lists of pairs,
changed in their text, fields and encodings. Counts what came of them. Anything but pairs or an EfqError, code that ran,
or more than a second or 256 MB, is a hole: it is printed with the seed of its mutation, and the exit code is 1.
"""

from __future__ import annotations

import itertools
import logging
import os
import pickle
import pickletools
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tests_folder  # noqa: F401
from counting import MARK, count_attempts, parser, read_bounded
from fuzz_images import mutated
from image_files import FACE, image_file
from packed_pairs import FORMS, PYTHON_2, python_2_set

from efq.runtime.errors import UnreadableImageError
from efq.runtime.faces.images import decode_image
from efq.toolchain.data import open_source
from efq.toolchain.evaluation import PairList, read_pairs

MOST_BYTES = 2**28
IMAGES = [image_file("png", FACE[place : place + 4, :4]) for place in range(7)] + [b""]
SAME = [True, False, False, True]
PERSONS = ("Ann", "Zoë", "X_Y")
PATHS = [f"{person}/{person}_{number:04d}.jpg" for person in PERSONS for number in range(1, 5)]
PIECES = (
    *(b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\x02", b"\x80\x05\x95", b"(", b")", b"]", b".", b"0", b"1", b"2", b"N"),
    *(b"cos\nsystem\n", b"c__builtin__\nbytes\n", b"c_codecs\nencode\n", b"cnumpy\ndtype\n", b"cnumpy\nndarray\n"),
    *(
        b"R",
        b"b",
        b"h\0",
        b"h\1",
        b"q\0",
        b"\x94",
        b"e",
        b"a",
        b"t",
        b"l",
        b"\x85",
        b"\x86",
        b"\x87",
        b"\x88",
        b"I01\n",
    ),
    *(
        b"U\3abc",
        b"T\3\0\0\0abc",
        b"X\3\0\0\0abc",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"L99999999999999999999L\n",
    ),
)
WORDS = (
    *(
        "\t",
        ",",
        ";",
        " ",
        "\n",
        "\r",
        '"',
        "0",
        "1",
        "-1",
        "2",
        "same",
        "label",
        "fold",
        "path",
        "../",
        "/",
        "\\",
        "C:",
    ),
    *(
        "\ufeff",
        "\0",
        "é",
        "Zoe\u0308",
        "٣",
        "999999999999",
        "nan",
        "Ann",
        "Ann_0001.jpg",
        "jpg",
        ".png",
        "\u2028",
        "\x1a",
    ),
)


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, (f"import os; os.environ[{MARK!r}] = '1'",)


def sets() -> list[bytes]:
    """Small ones of every form and protocol, and hostile ones."""
    contents = [form(IMAGES, SAME) for form in FORMS.values()]
    contents += [([Code(), *IMAGES[1:]], SAME), (IMAGES, [Code(), *SAME[1:]]), Code()]
    found = [pickle.dumps(content, protocol=protocol) for content in contents for protocol in range(6)]
    return found + [python_2_set(IMAGES, SAME, protocol) for protocol in PYTHON_2]


def changed_set(data: bytes, draw: random.Random) -> bytes:
    """Instructions left out, doubled, exchanged or put in, or bytes changed."""
    pieces = instructions(data)
    if len(pieces) < 2 or draw.random() < 0.5:
        for _ in range(draw.choice((1, 1, 2, 5))):
            data = mutated(data, draw, PIECES)
        return data
    for _ in range(draw.choice((1, 1, 2, 5))):
        place, other = draw.randrange(len(pieces)), draw.randrange(len(pieces))
        action = draw.randrange(4)
        if action == 0:
            pieces[place] = b""
        elif action == 1:
            pieces[place] *= draw.choice((2, 3, 1000))
        elif action == 2:
            pieces[place], pieces[other] = pieces[other], pieces[place]
        else:
            pieces.insert(place, draw.choice((*PIECES, draw.randbytes(2))))
    return b"".join(pieces)


def instructions(data: bytes) -> list[bytes]:
    """The pieces of a pickle; one where pickletools cannot read it, which takes Python 2's text for ASCII."""
    try:
        starts = [place for _, _, place in pickletools.genops(data) if place is not None]
    except UnicodeDecodeError:
        return [data]
    return [data[start:end] for start, end in itertools.pairwise([*starts, len(data)])]


def read_set(path: Path) -> str:
    """As commands read it: the pairs, then every image."""
    check(read_pairs(path))
    source = open_source(path)
    unreadable = 0
    for key in source.keys():  # noqa: SIM118
        assert key in source
        assert source.fingerprint(key)
        try:
            decode_image(source.read(key), name=key)
        except UnreadableImageError:
            unreadable += 1
    return "pairs read, images unreadable" if unreadable > 1 else "pairs read"


def lists() -> list[str]:
    """A list of every layout."""
    pairs = [(one, other, one[:2] == other[:2]) for one, other in itertools.combinations(PATHS, 2)]
    rows = [(one, other, str(int(same)), str(place % 3)) for place, (one, other, same) in enumerate(pairs)]
    plain = ["\n".join(separator.join(row) for row in rows) for separator in "\t,; "]
    plain += ["\n".join(" ".join(row[:3]) for row in rows), "\n".join(f"{c} {a} {b}" for a, b, c, _ in rows)]
    headings = "id,image1,image2,label,fold\n" + "\n".join(f"{place},{','.join(row)}" for place, row in enumerate(rows))
    lfw = "2\t2\n" + "Ann\t1\t2\nX_Y\t1\t2\nAnn\t1\tX_Y\t1\nAnn\t2\tX_Y\t1\n" * 2
    one_part = "2\n" + "Ann\t1\t2\nX_Y\t1\t2\nAnn\t1\tX_Y\t1\nAnn\t2\tX_Y\t1\n"
    two_lines = "".join(
        f"{path[4:]} {1 + place % 3 if same else 0}\n" for place, (*ends, same) in enumerate(pairs) for path in ends
    )
    return [*plain, headings, lfw, one_part, two_lines]


def changed_list(text: str, draw: random.Random) -> bytes:
    """Words put in, lines doubled or left out, another encoding, or bytes changed."""
    for _ in range(draw.choice((0, 1, 1, 2, 5))):
        place = draw.randrange(len(text) + 1)
        lines = text.split("\n")
        action = draw.randrange(4)
        if action == 0:
            text = text[:place] + draw.choice(WORDS) + text[place:]
        elif action == 1:
            text = text[:place] + draw.choice(WORDS) + text[place + draw.randrange(8) :]
        elif action == 2:
            lines[draw.randrange(len(lines))] = draw.choice((*WORDS, *lines))
            text = draw.choice(("\n", "\r\n")).join(lines)
        else:
            text = "\n".join(lines[: draw.randrange(len(lines))] * draw.choice((1, 1, 2)))
    data = text.encode(draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")), "ignore")
    return mutated(data, draw, PIECES) if data and draw.random() < 0.3 else data


def read_list(path: Path) -> str:
    """The pairs, of images that are there."""
    check(read_pairs(path, path.parent / "faces"))
    return "pairs read"


def check(pairs: PairList) -> None:
    """That they are pairs, in two folds or more."""
    assert len(pairs) == len(pairs.second) == len(pairs.same) == len(pairs.folds) >= 2
    assert len(set(pairs.folds.tolist())) >= 2
    assert all(one != other for one, other in zip(pairs.first, pairs.second, strict=True))


FORMATS: dict[str, tuple[Callable[[], Sequence[Any]], Callable[[Any, random.Random], bytes], Callable[[Path], str]]] = {
    "bin": (sets, changed_set, read_set),
    "lists": (lists, changed_list, read_list),
}


def folder_of_faces(root: Path) -> Path:
    """The images that the lists name, empty; their folder is `root`/faces."""
    for path in PATHS:
        (root / "faces" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "faces" / path).touch()
    return root


def attempt(name: str, originals: Sequence[Any], root: Path, draw: random.Random) -> str:
    """Write a mutation into `root` and read it; a hole begins so."""
    _, changed, read = FORMATS[name]
    path = root / ("any.bin" if name == "bin" else "any.txt")
    path.write_bytes(changed(draw.choice(originals), draw))
    return read_bounded(lambda: read(path), most_bytes=MOST_BYTES)


def main() -> None:
    """Count; exit 1 for a hole."""
    options = parser(__doc__, count=2000)
    options.add_argument("--format", choices=sorted(FORMATS), required=True)
    arguments = options.parse_args()
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    originals = FORMATS[arguments.format][0]()
    with tempfile.TemporaryDirectory() as folder:
        root = folder_of_faces(Path(folder))
        count_attempts(arguments, lambda draw, number: attempt(arguments.format, originals, root, draw))


if __name__ == "__main__":
    main()
