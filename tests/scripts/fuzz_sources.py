"""Open mutated files of faces: `python tests/scripts/fuzz_sources.py --format rec --count 20000 --seed 0`.

Counts what came of them. Anything but an EfqError or faces, or more than a second or a gigabyte, is a hole: it is
printed with the seed of its mutation, and the exit code is 1. The libraries' own words on stderr are dropped.

A format is a row of `FORMATS`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import random
import struct
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import tests_folder  # noqa: F401
from counting import count_attempts, parser, read_bounded
from fuzz_images import mutated
from image_files import FACE, image_file
from packed_faces import MAGIC, folder_members, framed, packed, webdataset_members, write_recordio, write_tar

from efq.runtime.errors import UnreadableImageError
from efq.runtime.faces.images import decode_image
from efq.toolchain.data import open_source

MOST_BYTES = 2**30
Files = Mapping[str, bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How one format is fuzzed.

    originals: sound files, tiny ones, each the files of one folder by their names. opened: which of them is opened; ""
    for the folder. changed: what a mutation makes of one original. read: what came of the path that is opened; it
    raises EfqErrors, and whatever else it raises is a hole.
    """

    originals: Callable[[], Sequence[Files]]
    opened: str
    changed: Callable[[Files, random.Random], Files]
    read: Callable[[Path], str]


def read_source(path: Path) -> str:
    """Open a source of faces and do with it what commands do."""
    source = open_source(path)
    keys = source.keys()
    assert len(set(keys)) == len(keys)
    assert list(keys) == sorted(keys, key=lambda key: key.split("/"))
    unreadable = 0
    for key in keys:
        assert key in source
        key.encode()
        source.identity(key).encode()
        assert source.fingerprint(key)
        try:
            decode_image(source.read(key), name=key)
        except UnreadableImageError:
            unreadable += 1
    for key in ("", "/", "a/b.jpg", "../a.jpg", "00000000/00000001.jpg", "9" * 30 + "/" + "9" * 30 + ".jpg"):
        if key in source:
            source.read(key)
    return "no face" if not keys else "some faces unreadable" if unreadable else "faces read"


def tiny_faces() -> dict[str, dict[str, bytes]]:
    """Two people with three images of a few hundred bytes."""
    images = [image_file(form, FACE[place : place + 6, :6]) for place, form in enumerate(("png", "bmp", "jpeg"))]
    return {"ann": {"1.png": images[0], "2.jpg": images[2]}, "bob": {"1.bmp": images[1]}}


def any_file_changed(files: Files, draw: random.Random, pieces: Sequence[bytes]) -> Files:
    """One of the files with a few mutations, or left out."""
    name = draw.choice([name for name in files for _ in range(1 + len(files[name]) // 100)])
    if len(files) > 1 and draw.random() < 0.02:
        return {kept: data for kept, data in files.items() if kept != name}
    data = files[name]
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        data = mutated(data, draw, pieces)
    return {**files, name: data}


NUMBERS = (0, 1, 2, 3, 4, 7, 8, 255, 1 << 16, (1 << 29) - 1, 1 << 29, 3 << 29, 7 << 29, 1 << 31, (1 << 32) - 1)
FLOATS = (0.0, -1.0, 0.5, 1e30, 16777216.0, float("nan"), float("inf"))
RECORD_PIECES = (MAGIC, *(struct.pack("<I", number) for number in NUMBERS), *(struct.pack("<f", one) for one in FLOATS))


def record_originals() -> Sequence[Files]:
    """InsightFace's layout with and without what is optional, and records without a header."""
    plain = b"".join(framed(packed(image_file("png", FACE[:4, :4]), 2.0, 7)) for _ in range(2))
    parts = framed(packed(MAGIC + image_file("bmp", FACE[:4, :4]) + MAGIC * 2, 1.0, 9)) + plain
    with tempfile.TemporaryDirectory() as folder:
        whole = write_recordio(Path(folder), tiny_faces(), names=True)
        files = {path.name: path.read_bytes() for path in whole.iterdir()}
    without = {name: data for name, data in files.items() if name != "train.lst"}
    return (files, without, {"train.rec": files["train.rec"]}, {"train.rec": plain}, {"train.rec": parts})


def records_changed(files: Files, draw: random.Random) -> Files:
    """A field of a record set to another value, or the bytes of any file changed."""
    if draw.random() < 0.5:
        return any_file_changed(files, draw, (*RECORD_PIECES, b"\t", b"\n", b"-1", b"9" * 30, b"\xff"))
    data = bytearray(files["train.rec"])
    for _ in range(draw.choice((1, 1, 2, 3))):
        starts = [place for place in range(0, len(data) - 32, 4) if data[place : place + 4] == MAGIC]
        place = draw.choice(starts or [0]) + 4 * draw.randrange(10)
        data[place : place + 4] = draw.choice((*RECORD_PIECES, draw.randbytes(4)))
    return {**files, "train.rec": bytes(data)}


TAR_FIELDS = (
    (0, 100),
    (124, 12),
    (124, 12),
    (156, 1),
    (156, 1),
    (257, 8),
    (345, 155),
)  # name, size, type, magic, prefix
TAR_VALUES = (
    *(b"0", b"1", b"2", b"3", b"5", b"7", b"L", b"K", b"x", b"g", b"S", b"V", b"\0", b"z"),
    *(b"77777777777\0", b"00000000000\0", b"00000001000\0", b"\x80" + b"\0" * 3 + b"\xff" * 8, b"\xff" * 12, b"-1\0"),
    *(
        b"../../etc/passwd\0",
        b"/etc/passwd\0",
        b"a//./b.jpg\0",
        b".hidden/a.jpg\0",
        b"\xff\xfe.jpg\0",
        b"a/\0",
        b"\0" * 20,
    ),
    *(b"ustar  \0", b"ustar\x0000", b"000001.cls\0", b"000001.json\0"),
)
PAX_VALUES = (
    b"30 path=x.jpg\n",
    b"99999999999 size=1\n",
    b"12 size=-5\n",
    b"15 size=999999\n",
    b"22 GNU.sparse.major=1\n",
)


def tar_originals() -> Sequence[Files]:
    """Folders of people and WebDataset's samples, in each form of header, and shards."""
    folders, samples = folder_members(tiny_faces()), webdataset_members(tiny_faces())
    long = {f"{'n' * 120}/{name}": data for name, data in folders.items()}
    described = {name.replace(".cls", ".json"): data for name, data in samples.items()}
    described |= {name: b'{"identity": "ann"}' for name in described if name.endswith(".json")}
    made = [(folders, tarfile.USTAR_FORMAT), (long, tarfile.PAX_FORMAT), (long, tarfile.GNU_FORMAT)]
    made += [(samples, tarfile.PAX_FORMAT), (described, tarfile.GNU_FORMAT)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "faces.tar"
        found = [{"a.tar": write_tar(path, members, kind=kind).read_bytes()[:-8192]} for members, kind in made]
    return (*found, {"a.tar": found[0]["a.tar"], "b.tar": found[3]["a.tar"]})


def tar_changed(files: Files, draw: random.Random) -> Files:
    """A field of a header set to another value, with a checksum that fits, or the bytes of a file changed."""
    if draw.random() < 0.3:
        return any_file_changed(files, draw, TAR_VALUES)
    name = draw.choice(list(files))
    data = bytearray(files[name])
    for _ in range(draw.choice((1, 1, 2, 3))):
        start = draw.choice(
            [place for place in range(0, len(data) - 511, 512) if data[place + 257 : place + 262] == b"ustar"] or [0]
        )
        if draw.random() < 0.15:  # what follows a header: a long name, pax records, a label, an image
            piece = draw.choice((*PAX_VALUES, *TAR_VALUES, draw.randbytes(30)))
            data[start + 512 : start + 512 + len(piece)] = piece
            continue
        offset, length = draw.choice(TAR_FIELDS)
        piece = draw.choice((*TAR_VALUES, draw.randbytes(length)))[:length]
        data[start + offset : start + offset + len(piece)] = piece
        if draw.random() < 0.95:
            header = data[start : start + 148] + b" " * 8 + data[start + 156 : start + 512]
            data[start + 148 : start + 156] = b"%06o\0 " % sum(header)
    return {**files, name: bytes(data)}


FORMATS: Mapping[str, Format] = {
    "rec": Format(originals=record_originals, opened="train.rec", changed=records_changed, read=read_source),
    "tar": Format(originals=tar_originals, opened="", changed=tar_changed, read=read_source),
}


def attempt(one: Format, originals: Sequence[Files], root: Path, draw: random.Random) -> str:
    """Write a mutation into a folder within `root` and read it; a hole begins so."""
    files = one.changed(draw.choice(originals), draw)
    with tempfile.TemporaryDirectory(dir=root) as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        return read_bounded(lambda: one.read(Path(folder) / one.opened), most_bytes=MOST_BYTES)


def main() -> None:
    """Count; exit 1 for a hole."""
    options = parser(__doc__, count=2000)
    options.add_argument("--format", choices=sorted(FORMATS), required=True)
    arguments = options.parse_args()
    logging.disable(logging.CRITICAL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    one = FORMATS[arguments.format]
    originals = one.originals()
    with tempfile.TemporaryDirectory() as root:
        count_attempts(arguments, lambda draw, number: attempt(one, originals, Path(root), draw))


if __name__ == "__main__":
    main()
