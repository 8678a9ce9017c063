"""Read mutated images and landmark files, many of them: `python tests/scripts/fuzz_images.py --count 20000 --seed 0`.

Counts what came of them. Anything but an EfqError or an image, or more than a second or a gigabyte, is a hole: it is
printed with the seed of its mutation, and the exit code is 1. The libraries' own words on stderr are dropped.
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import resource
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tests_folder  # noqa: F401
from counting import print_counts, seconds_of
from image_files import FACE, FORMS, OTHER_FORMS, image_file

from efq.runtime import align
from efq.runtime.errors import EfqError
from efq.runtime.faces.images import read_image
from efq.runtime.faces.landmarks import read_landmarks
from efq.runtime.faces.template import ARCFACE_TEMPLATE

MOST_SECONDS, MOST_BYTES = 1.0, 2**30
ROW = "face.jpg," + ",".join(f"{value:g}" for value in ARCFACE_TEMPLATE.ravel())
HEADERS = (
    "path,x1,y1,x2,y2,x3,y3,x4,y4,x5,y5",
    "nose_x,nose_y,image_id,le_x,le_y,re_x,re_y,leftmouth_x,leftmouth_y,rightmouth_x,rightmouth_y",
    "2\nlefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y",
)
TEXTS = (ROW, *(f"{header}\n{ROW}\n{ROW.replace('face', 'other')}\n" for header in HEADERS), ROW.replace(",", ";"))
PIECES = (
    b"\xff\xd9",
    b"\xff\xd8",
    b"\xff\xda",
    b"\xff\xd0",
    b"IEND",
    b"IDAT",
    b"RIFF",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
)
WORDS = (",", ";", "\t", "nan", "inf", "-1", "1e400", "0.5", '"', "\n", "\r", "\ufeff", "\0", "x1", "path", "é", "٣")


def image_files() -> list[bytes]:
    """An image of every form."""
    return [image_file(form) for form in (*FORMS, *OTHER_FORMS)]


def mutated(data: bytes, draw: random.Random, pieces: Sequence[bytes] = PIECES) -> bytes:
    """`data` with something in it changed, put in, taken out or doubled; more often near its beginning."""
    place = min(int(len(data) * draw.random() ** draw.choice((1, 4))), max(len(data) - 1, 0))
    run = draw.choice((1, 1, 2, 4, 16, 300))
    noise = draw.choice((bytes(run), b"\xff" * run, draw.randbytes(run), draw.choice(pieces)))
    action = draw.randrange(6)
    if action == 0:
        return data[:place]
    if action == 1:
        return data[:place] + noise + data[place:]
    if action == 2:
        return data[:place] + data[place + run :]
    if action == 3:
        return data[: place + run] + data[place:]
    if action == 4:
        return data[:place] + noise
    return data[:place] + noise + data[place + len(noise) :]


def outcome(path: Path) -> str:
    """What reading the image or the landmarks at `path` came to."""
    try:
        if path.suffix == ".csv":
            for points, size in read_landmarks(path).values():
                align(FACE, points, image_size=size)
            return "landmarks read and aligned"
        image = read_image(path)
    except EfqError as error:
        return f"{path.suffix[1:]} refused: {type(error).__name__}"
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] == 3
    return "image read"


def attempt(path: Path, originals: Sequence[bytes], seed: str) -> str:
    """Write a mutation to `path`, with its kind's suffix, and read it; a hole begins so."""
    draw = random.Random(seed)
    if draw.random() < 0.2:
        path = path.with_suffix(".csv")
        data, pieces = draw.choice(TEXTS).encode(), tuple(word.encode() for word in WORDS)
    else:
        path = path.with_suffix(".jpg")
        data, pieces = draw.choice(originals), PIECES
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        data = mutated(data, draw, pieces)
    path.write_bytes(data)
    found = ""

    def read() -> None:
        nonlocal found
        found = outcome(path)

    try:
        seconds = seconds_of(read, most=MOST_SECONDS)
    except Exception as error:
        return f"HOLE: {error!r}"
    return f"HOLE: {found} in {seconds:.1f} s" if seconds > MOST_SECONDS else found


def main() -> None:
    """Count; exit 1 for a hole."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    originals = image_files()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.count):
            found = attempt(Path(folder) / "image", originals, f"{arguments.seed}/{number}")
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
            if grown > MOST_BYTES:
                before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                found = f"HOLE: {grown:,} bytes"
            if found.startswith("HOLE"):
                print(f"{arguments.seed}/{number}: {found}", flush=True)
            counts[found] += 1
    print(f"at most {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MB more than at first")
    print_counts(counts)
    raise SystemExit(any(found.startswith("HOLE") for found in counts))


if __name__ == "__main__":
    main()
