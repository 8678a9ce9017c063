"""The images in a tar, or in the tars of a folder (shards), read where they lie."""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import os
import re
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES, MOST_BYTES
from efq.runtime.faces.scan import DOCUMENTS, HIDDEN_FILES, LeftOut, is_hidden_file, is_hidden_folder, suffix_of
from efq.runtime.file_kinds import BZIP2, GZIP, TAR, XZ, ZSTANDARD, kind_of_bytes
from efq.toolchain.data.sources.container import Container, first_bytes, is_file, log_left_out
from efq.toolchain.data.sources.source import Fingerprint
from efq.toolchain.data.sources.tars.labels import LABEL_SUFFIXES, LONGEST_LABEL, Labels, label_suffixes
from efq.toolchain.data.sources.tars.members import Member, walk_members

_TAR = re.compile(r".+\.(tar|tar\.(gz|bz2|xz|zst)|tgz|tbz2?|txz)", re.IGNORECASE)
_UNPACK = {GZIP: "gunzip", BZIP2: "bunzip2", XZ: "unxz", ZSTANDARD: "unzstd"}

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class _Image:
    shard: int
    start: int
    size: int
    identity: str


@dataclasses.dataclass(kw_only=True)
class _Shard:
    """What one tar holds: images by their names, with where they lie, and labels."""

    name: str
    images: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    labels: Labels = dataclasses.field(default_factory=Labels)


class TarSource:
    """The images in tars that are not compressed, of which nothing is unpacked.

    A key is the image's name in its tar; `shard/name` where tars hold images of the same names, or where nothing else
    tells people apart. The identity is what a label beside the image says (`000001.cls`, or "identity" or "label" in
    `000001.json`, or `000001.txt` where the images lie in no folders), or else the folder.
    """

    def __init__(self, path: Path, shards: Sequence[Path]) -> None:
        self._path = path
        self._shards = [Container(shard, expected="a tar of images") for shard in shards]
        for container in self._shards:
            _refuse_compressed(container.path)

    @property
    def name(self) -> str:
        """The tar, or the folder that holds the tars."""
        return str(self._path)

    def keys(self) -> tuple[str, ...]:
        """All images; a warning says what is left out. Raises InputError for tars that are cut or damaged."""
        return tuple(self._images)

    def __contains__(self, key: str, /) -> bool:
        return key in self._images

    def identity(self, key: str) -> str:
        """The label beside the image, or else its folder, which may be empty."""
        return self._images[key].identity

    def fingerprint(self, key: str) -> Fingerprint:
        """The place, size and times of change of its tar, and where in it the image lies."""
        image = self._image(key)
        return *self._shards[image.shard].fingerprint(), image.start, image.size

    def read(self, key: str) -> bytes:
        """The bytes of the image. Raises InputError for a tar that was changed since it was opened."""
        image = self._image(key)
        return self._shards[image.shard].read(image.start, image.size)

    def _image(self, key: str) -> _Image:
        image = self._images.get(key)
        if image is None:
            message = f"expected an image {key} in {self.name}, found none"
            raise InputError(message)
        return image

    @functools.cached_property
    def _images(self) -> Mapping[str, _Image]:
        """By key, sorted as paths are, found once."""
        left_out = LeftOut()
        shards = [_read_shard(container, left_out) for container in self._shards]
        suffixes = label_suffixes([(name, shard.labels) for shard in shards for name in shard.images])
        found: dict[str, _Image] = {}
        prefixed = _needs_prefix(shards, labelled=bool(suffixes))
        for place, shard in enumerate(shards):
            prefix = f"{shard.name}/" if prefixed else ""
            for name, (start, size) in shard.images.items():
                label = shard.labels.of(name, suffixes)
                if suffixes and not label:
                    left_out.add("images without a label", name)
                else:
                    key = prefix + name
                    found[key] = _Image(place, start, size, label or key.rpartition("/")[0])
        log_left_out(self.name, left_out)
        if found:
            said = f"labels ({' or '.join(suffixes)})" if suffixes else "folders"
            _logger.info("the people in %s are named by %s", self.name, said)
        return {key: found[key] for key in sorted(found, key=lambda key: key.split("/"))}


class TarFormat:
    """A tar, or a folder that holds tars and neither images nor folders."""

    name = "tar"

    def recognizes(self, path: Path) -> bool:
        """Whether it is such a file or folder; a compressed one is recognized, and refused when it is opened."""
        if is_file(path):
            return bool(_TAR.fullmatch(path.name)) or kind_of_bytes(first_bytes(path)) is TAR
        return bool(_shards_in(path))

    def open(self, path: Path) -> TarSource:
        """Its images. Raises InputError for tars that cannot be read or are compressed."""
        return TarSource(path, [path] if is_file(path) else _shards_in(path))


def _shards_in(folder: Path) -> list[Path]:
    """The tars of a folder by name; none where it holds images or folders besides, or is none."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir():
                    if not is_hidden_folder(entry.name):
                        return []
                elif suffix_of(entry.name) in IMAGE_SUFFIXES and not is_hidden_file(entry.name):
                    return []
                elif _TAR.fullmatch(entry.name) and not is_hidden_file(entry.name):
                    found.append(entry.name)
    except OSError:
        return []
    return [folder / name for name in sorted(found)]


def _refuse_compressed(path: Path) -> None:
    kind = kind_of_bytes(first_bytes(path))
    if kind in _UNPACK and kind is not None:
        message = (
            f"expected a tar that is not compressed at {path}, found {kind.found}, in which no image can be found "
            f"without reading all before it; unpack it to a tar, which may stay one: {_UNPACK[kind]} {path}"
        )
        raise InputError(message)


def _read_shard(container: Container, left_out: LeftOut) -> _Shard:
    shard = _Shard(name=container.path.name.removesuffix(".tar"))
    with container.open() as file:
        for member in walk_members(file, container, left_out):
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            problem = member.problem or _name_problem(member.name, parts)
            if problem:
                left_out.add(problem, member.name)
            elif parts and not member.name.endswith("/"):
                _take(shard, "/".join(parts), member, file, left_out)
    return shard


def _name_problem(name: str, parts: Sequence[str]) -> str:
    if name.startswith("/") or ".." in parts or "\0" in name:
        return "names that lead out of the tar"
    if name.endswith("/"):
        return ""
    hidden = any(map(is_hidden_folder, parts[:-1])) or any(map(is_hidden_file, parts[-1:]))
    return HIDDEN_FILES if hidden else ""


def _take(shard: _Shard, name: str, member: Member, file: BufferedReader, left_out: LeftOut) -> None:
    """Take an image or a label."""
    suffix = suffix_of(name)
    if suffix in IMAGE_SUFFIXES and member.size > MOST_BYTES:
        left_out.add(f"images of more than {MOST_BYTES:,} bytes", name)
    elif suffix in IMAGE_SUFFIXES:
        if name in shard.images:
            left_out.add("files that a later one of the same name replaces", name)
        shard.images[name] = member.start, member.size
    elif suffix not in LABEL_SUFFIXES:
        left_out.add_unread(name)
    elif not _take_label(shard, name, member, file):
        if suffix in DOCUMENTS:
            left_out.add_unread(name)
        else:
            left_out.add("labels that name nobody", name)


def _take_label(shard: _Shard, name: str, member: Member, file: BufferedReader) -> bool:
    """Whether there is a label in the member."""
    if member.size > LONGEST_LABEL:
        return False
    file.seek(member.start)
    return shard.labels.add(name, file.read(member.size))


def _needs_prefix(shards: Sequence[_Shard], *, labelled: bool) -> bool:
    """Whether the names of images say too little without the names of their tars."""
    if len(shards) < 2:
        return False
    counts = collections.Counter(name for shard in shards for name in shard.images)
    return any(count > 1 for count in counts.values()) or (not labelled and any("/" not in name for name in counts))
