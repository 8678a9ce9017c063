"""What an .lst file beside a RecordIO file calls its images, and what `property` says of it."""

from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.reading import read_text
from efq.toolchain.data.sources.recordio.index import read_lines

_WHOLE = re.compile(r"[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9.]+")
_LABEL = re.compile(r"[0-9]{1,8}(?:\.0*)?")
_WITH_LANDMARKS = 17  # columns of InsightFace's lists


@dataclasses.dataclass(frozen=True, kw_only=True)
class Names:
    """Of a list of images: the number of each name's record; names and people's labels by the records' numbers."""

    path: Path
    numbers: Mapping[str, int]
    names: Mapping[int, str]
    labels: Mapping[int, int]


def read_names(path: Path) -> Names:
    """The names in an .lst file: paths as they stand there, without what leads out of a folder ("/", "..").

    Its lines are MXNet's (number, labels, path) or InsightFace's (1 for aligned, path, label, perhaps a box and
    landmarks: of the records 1, 2, ...), separated by tabs. Raises InputError for other lines, and where a name or a
    number is there twice.
    """
    numbers: dict[str, int] = {}
    names: dict[int, str] = {}
    labels: dict[int, int] = {}
    for place, line in read_lines(path, "a list of images"):
        columns = line.split("\t")
        if _is_insightface(columns):
            if columns[0] == "0" and len(columns) < _WITH_LANDMARKS:
                continue  # as its writer does: it cannot be aligned
            number, label, name = len(numbers) + 1, columns[2], columns[1]
        elif len(columns) > 2 and _WHOLE.fullmatch(columns[0]):
            number, label, name = int(columns[0]), columns[1], columns[-1]
        else:
            raise _no_list(path, place, repr(line[:100]))
        name = _within(name)
        if not name or not _LABEL.fullmatch(label):
            raise _no_list(path, place, repr(line[:100]))
        if name in numbers or number in names:
            raise _no_list(path, place, f"{name} or number {number} a second time")
        numbers[name], names[number], labels[number] = number, name, int(label.partition(".")[0])
    return Names(path=path, numbers=numbers, names=names, labels=labels)


def read_property(path: Path) -> int | None:
    """How many identities `property` ("85742,112,112") says there are; None where it says nothing."""
    try:
        first = read_text(path, expected="the properties of a data set", limit=4096).split(",")[0].strip()
    except InputError:
        return None
    return int(first) if _WHOLE.fullmatch(first) else None


def _is_insightface(columns: list[str]) -> bool:
    return len(columns) > 2 and columns[0] in ("0", "1") and not _NUMBER.fullmatch(columns[1])


def _within(name: str) -> str:
    path = posixpath.normpath(name.strip().replace("\\", "/")).lstrip("/")
    while path.startswith("../"):
        path = path[3:]
    return "" if path in (".", "..") else path


def _no_list(path: Path, place: int, found: str) -> InputError:
    return InputError(
        f"expected a number, a label and a path, or 1, a path and a label, with tabs between, in line {place} of "
        f"{path}, found {found}; without the .lst file images are named by label and number"
    )
