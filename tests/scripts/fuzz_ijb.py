"""Read mutated lists of IJB-B and IJB-C, many of them: `python tests/scripts/fuzz_ijb.py --count 20000 --seed 0`.

Counts what came of them. Anything but an EfqError or a benchmark whose parts fit together, or more than a second or
256 MB, is a hole: it is printed with the seed of its mutation, and the exit code is 1.
"""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tests_folder  # noqa: F401
from counting import count_attempts, parser, read_bounded
from fuzz_images import mutated
from ijb_folder import Row, write_ijb

from efq.toolchain.evaluation.protocols.ijb.benchmark import read_ijb

MOST_BYTES = 2**28
TEMPLATES = range(1, 40)
WORDS = (
    " ",
    "\t",
    ",",
    "\n",
    "\r",
    "\ufeff",
    "\0",
    "nan",
    "inf",
    "-1",
    "1e400",
    "0.5",
    "1 ",
    "\n1 2 1\n",
    '"',
    "../",
    "é",
)
PIECES = (*(word.encode() for word in WORDS), b"9" * 30, b"1" * 5000, b"1 2 0\n" * 500, b"\xff\xfe")


def make_folder(folder: Path) -> Path:
    """A benchmark of both protocols, without images."""
    rows = [Row(name=f"{place}.png", template=place, media=place % 7, face=None, score=0.9) for place in TEMPLATES]
    pairs = [(one, other, int(one % 2 == other % 2)) for one, other in itertools.combinations(range(1, 9), 2)]
    probes = {template: template % 2 for template in TEMPLATES[2:]}
    return write_ijb(folder / "IJBC", rows, pairs=pairs, galleries=({1: 1}, {2: 0}), probes=probes)


def attempt(folder: Path, originals: dict[Path, bytes], draw: random.Random) -> str:
    """Change one list, or two, read the benchmark in `folder`, and put the lists back; a hole begins so."""
    changed = draw.sample(list(originals), draw.choice((1, 1, 2)))
    for path in changed:
        data = originals[path]
        for _ in range(draw.choice((1, 1, 1, 2, 5))):
            data = mutated(data, draw, PIECES)
        path.write_bytes(data)
    found = read_bounded(lambda: read_checked(folder), most_bytes=MOST_BYTES)
    for path in changed:
        path.write_bytes(originals[path])
    return found


def read_checked(folder: Path) -> str:
    """Read it; all places have to be those of templates, and all images below the folder."""
    found = read_ijb(folder)
    assert found.points.shape == (len(found), 5, 2)
    assert found.scores.shape == found.templates.shape == found.medias.shape == (len(found),)
    lists = [found.templates, *(gallery.templates for gallery in found.galleries)]
    lists += [found.pairs.first, found.pairs.second] if found.pairs is not None else []
    lists += [found.probes.templates] if found.probes is not None else []
    assert all(((places >= 0) & (places < len(found.template_ids))).all() for places in lists)
    root = found.files.crops.resolve()
    assert all((root / name).resolve().is_relative_to(root) for name in found.names)
    return "read"


def cases(count: int, seed: int, folder: Path) -> Iterator[tuple[str, str]]:
    """The name of each mutation and what came of it."""
    root = make_folder(folder)
    originals = {path: path.read_bytes() for path in sorted((root / "meta").iterdir())}
    for number in range(count):
        name = f"{seed}/{number}"
        yield name, attempt(root, originals, random.Random(name))


def main() -> None:
    """Count; exit 1 for a hole."""
    arguments = parser(__doc__, count=2000).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = make_folder(Path(folder))
        originals = {path: path.read_bytes() for path in sorted((root / "meta").iterdir())}
        one = functools.partial(attempt, root, originals)
        count_attempts(arguments, lambda draw, number: one(draw))


if __name__ == "__main__":
    main()
