"""Lists of images: one image of a list, and the file in which a run keeps its own."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from efq.runtime.errors import ChecksumError
from efq.runtime.files import atomic_write_bytes
from efq.runtime.reading import read_bytes

MOST_BYTES = 2**31
"""Of the list of one shard."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ListedImage:
    """path: as it was named. person: who is on it, empty where nobody says.

    landmarks: ten numbers as text, x and y of five points, and width and height of their picture where that is known;
    empty where there are none.
    """

    path: str
    person: str = ""
    landmarks: tuple[str, ...] = ()


def write_shard_list(path: Path, images: Sequence[ListedImage]) -> str:
    """Write the images of one shard; the SHA-256 of the file. Raises UsageError as `atomic_file`."""
    content = "".join(_lines(images)).encode("utf-8", "surrogateescape")
    atomic_write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_shard_list(path: Path, *, sha256: str) -> list[ListedImage]:
    """Read what `write_shard_list` wrote. Raises ChecksumError for any other content, InputError for no such file."""
    content = read_bytes(path, limit=MOST_BYTES, expected="the list of a shard of this run")
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        message = f"expected the list of a shard of SHA-256 {sha256} at {path}, found {found}: begin the run again"
        raise ChecksumError(message)
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    rows = csv.reader(f"{line}\n" for line in lines[:-1])
    return [ListedImage(path=row[0], person=row[1], landmarks=tuple(row[2:])) for row in rows]


def in_shards(images: Iterable[ListedImage], size: int) -> Iterator[list[ListedImage]]:
    """`size` images after the other, fewer at the end."""
    remaining = iter(images)
    while part := list(itertools.islice(remaining, size)):
        yield part


class _Line:
    """A file for csv.writer that keeps what was written last."""

    text = ""

    def write(self, text: str) -> None:
        self.text = text


def _lines(images: Iterable[ListedImage]) -> Iterator[str]:
    line = _Line()
    writer = csv.writer(line, lineterminator="\n")
    for image in images:
        writer.writerow((image.path, image.person, *image.landmarks))
        yield line.text
