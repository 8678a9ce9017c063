"""The faces of a RecordIO file (`train.rec`), each found by its number."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
import os
import re
from io import BufferedReader
from pathlib import Path

import numpy as np

from efq.runtime.errors import InputError
from efq.runtime.faces.scan import LeftOut
from efq.toolchain.data.sources.container import Container, first_bytes, is_file, log_left_out, number_name
from efq.toolchain.data.sources.recordio.index import Index, find_records, read_index
from efq.toolchain.data.sources.recordio.names import Names, read_names, read_property
from efq.toolchain.data.sources.recordio.records import MAGIC, Record, read_image, read_record
from efq.toolchain.data.sources.source import Fingerprint

_KEY = re.compile(r"[0-9]{8,19}/([0-9]{8,19})\.[a-z]+")
_FILE = "train.rec"
_UNNAMED = "stretches of records that the .idx file does not name"

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Bounds:
    """Of InsightFace's sets, as record 0 says: images have the numbers 1 to `first` - 1, identities those up to `last`.

    It says so in float32, so that numbers from 2^24 on may be off by one or two.
    """

    first: int
    last: int

    def has_image(self, number: int) -> bool:
        """Whether the record of this number may hold an image."""
        return number < self.first + _error(self.first)

    def is_identity(self, number: int, record: Record) -> bool:
        """Whether a record is of an identity: it holds the first and the last number of its images, and no image."""
        near = self.first - _error(self.first) <= number <= self.last + _error(self.last)
        return near and len(record.labels) > 1 and not record.start


class RecordIoSource:
    """The images of `path`, an .rec file, and whose label each has.

    A key is `label/number.jpg` with eight digits or more each, or the name that an .lst file beside it gives. With an
    .idx file beside it one image is found without reading through the others.
    """

    def __init__(self, path: Path) -> None:
        self._container = Container(path, expected="a RecordIO file (.rec)")
        self._path = path

    @property
    def name(self) -> str:
        """The file."""
        return str(self._path)

    def keys(self) -> tuple[str, ...]:
        """All images, read through once; a warning says which records are left out.

        Raises InputError for a file that is cut or damaged, and an .idx or .lst file that is not of it.
        """
        return self._keys

    def __contains__(self, key: str, /) -> bool:
        offset = self._offset(key)
        if offset is None:
            return False
        with self._container.open() as file:
            return self._described(self._number(key), self._record(file, offset))[0] == key

    def identity(self, key: str) -> str:
        """The label, of eight digits or more."""
        if self._names is None:
            return key.partition("/")[0]
        return number_name(self._names.labels[self._names.numbers[key]])

    def fingerprint(self, key: str) -> Fingerprint:
        """The file's place, size and times of change, and where in it the record lies."""
        return *self._container.fingerprint(), self._known_offset(key)

    def read(self, key: str) -> bytes:
        """The image of the record. Raises InputError for a file that is cut, damaged or changed."""
        offset = self._known_offset(key)
        with self._container.open() as file:
            return read_image(file, offset, self._container)

    @functools.cached_property
    def _index(self) -> Index:
        path = self._path.with_suffix(".idx")
        return read_index(path) if os.path.lexists(path) else find_records(self._container)

    @functools.cached_property
    def _names(self) -> Names | None:
        path = self._path.with_suffix(".lst")
        return read_names(path) if os.path.lexists(path) else None

    @functools.cached_property
    def _bounds(self) -> _Bounds | None:
        offset = self._index.offset(0)
        if offset is None:
            return None
        with self._container.open() as file:
            record = self._record(file, offset)
        if record.start or len(record.labels) < 2 or not all(map(math.isfinite, record.labels)):
            return None
        first, last = map(int, record.labels)
        return _Bounds(first=first, last=last) if 1 <= first <= last else None

    @functools.cached_property
    def _keys(self) -> tuple[str, ...]:
        left_out, keys, end = LeftOut(), list[str](), 0
        with self._container.open() as file:
            for number, offset in self._index.in_file_order():
                if offset < end:
                    message = f"expected records of {self.name} that do not overlap, found one at byte {offset:,}"
                    raise self._of_index(InputError(message))
                if offset > end:
                    left_out.add(_UNNAMED, f"byte {end:,}")
                record = self._record(file, offset)
                key, problem = self._described(number, record)
                end = record.end
                if key:
                    keys.append(key)
                elif problem:
                    left_out.add(problem, str(number))
        if end < self._container.size:
            left_out.add(_UNNAMED, f"byte {end:,}")
        log_left_out(self.name, left_out)
        keys.sort(key=None if self._names is None else lambda key: key.split("/"))
        self._check_property(keys)
        return tuple(keys)

    def _described(self, number: int, record: Record) -> tuple[str, str]:
        """What the image of a record is called, or "" and why it is left out; both "" for what is no image by design.

        Raises InputError for an .lst file of other labels.
        """
        if self._bounds is not None:
            if number == 0 or self._bounds.is_identity(number, record):
                return "", ""
            if not self._bounds.has_image(number):
                return "", "records beyond those that record 0 counts"
        if record.problem:
            return "", record.problem
        suffix, person = record.suffix, record.person
        if not suffix:
            return "", "records of no image that is read"
        if person is None:
            return "", "records whose label is no whole number below 16,777,216"
        if self._names is None:
            return f"{number_name(person)}/{number_name(number)}{suffix}", ""
        if number not in self._names.names:
            return "", f"records that {self._names.path.name} does not name"
        if self._names.labels[number] != person:
            message = (
                f"expected the labels of {self.name} in {self._names.path}, found {self._names.labels[number]} for "
                f"record {number}, which has {person}; without the .lst file images are named by label and number"
            )
            raise InputError(message)
        return self._names.names[number], ""

    def _number(self, key: str) -> int:
        """The number of the record that a key may name; -1 for none."""
        if self._names is not None:
            return self._names.numbers.get(key, -1)
        found = _KEY.fullmatch(key)
        return int(found[1]) if found else -1

    def _offset(self, key: str) -> int | None:
        return self._index.offset(self._number(key))

    def _known_offset(self, key: str) -> int:
        offset = self._offset(key)
        if offset is None:
            message = f"expected an image {key} in {self.name}, found none"
            raise InputError(message)
        return offset

    def _record(self, file: BufferedReader, offset: int) -> Record:
        try:
            return read_record(file, offset, self._container)
        except InputError as error:
            raise self._of_index(error) from error

    def _of_index(self, error: InputError) -> InputError:
        """`error`, which the .idx file may be to blame for, where there is one."""
        path = self._path.with_suffix(".idx")
        if not os.path.lexists(path):
            return error
        return InputError(f"{error}; or {path} is of another file: without it records are found by reading through")

    def _check_property(self, keys: list[str]) -> None:
        """Warn of another count of identities than the file beside `train.rec` says."""
        path = self._path.with_name("property")
        said = read_property(path) if self._path.name == _FILE else None
        found = len({self.identity(key) for key in keys})
        if said is not None and said != found:
            _logger.warning("%s says that there are %d identities, found %d", path, said, found)


class RecordIoFormat:
    """A file that ends in .rec or begins as one, or a folder with `train.rec`."""

    name = "recordio"

    def recognizes(self, path: Path) -> bool:
        """Whether it is such a file or folder."""
        path = _file_of(path)
        return is_file(path) and (path.suffix == ".rec" or first_bytes(path).startswith(MAGIC))

    def open(self, path: Path) -> RecordIoSource:
        """Its faces. Raises InputError for a file that cannot be read."""
        return RecordIoSource(_file_of(path))


def _file_of(path: Path) -> Path:
    return path / _FILE if os.path.isdir(path) else path  # noqa: PTH112 (of a Path it may raise)


def _error(number: int) -> int:
    """By how much float32 may miss a whole number."""
    return int(np.spacing(np.float32(number))) if number >= 1 << 24 else 0
