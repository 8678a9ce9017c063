"""What is in a folder of faces: one pass over it, and the words for what it, and other sources, leave out and why."""

from __future__ import annotations

import collections
import dataclasses
import functools
import os
from collections.abc import Iterable
from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES

_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})

DOCUMENTS = frozenset(
    {".txt", ".lst", ".md", ".rst", ".pdf", ".csv", ".tsv", ".json", ".yaml", ".yml", ".html", ".log"}
)
"""Suffixes of what may lie beside images and is no loss."""

HIDDEN_FOLDERS, HIDDEN_FILES = "hidden or system folders", "hidden or system files"

_EXPECTED = {HIDDEN_FOLDERS, HIDDEN_FILES}
_NAMED = 3
_LONGEST_SHOWN = 200


class LeftOut:
    """What is no face: files of other types by suffix, everything else by reason, with the names of the first few."""

    def __init__(self) -> None:
        self.unread: collections.Counter[str] = collections.Counter()
        self._counts: collections.Counter[str] = collections.Counter()
        self._named: dict[str, list[str]] = collections.defaultdict(list)

    def add(self, reason: str, name: str) -> None:
        """`reason` is a plural: "links"."""
        self._counts[reason] += 1
        if len(self._named[reason]) < _NAMED:
            self._named[reason].append((name if name.isprintable() else ascii(name))[:_LONGEST_SHOWN])

    def add_all(self, reason: str, names: Iterable[str]) -> None:
        """`add` each."""
        for name in names:
            self.add(reason, name)

    def add_unread(self, name: str) -> None:
        """A file of a type that is not read."""
        self.unread[suffix_of(name)] += 1

    @property
    def all_expected(self) -> bool:
        """Whether it is nothing but documents, and what operating systems and editors make."""
        return set(self.unread) <= DOCUMENTS and set(self._counts) <= _EXPECTED

    def __bool__(self) -> bool:
        return bool(self.unread or self._counts)

    def __str__(self) -> str:
        kinds = ", ".join(f"{_shown(suffix) or 'no suffix'} {count}" for suffix, count in sorted(self.unread.items()))
        unread = [f"{self.unread.total():,} files of types that are not read ({kinds})"] if kinds else []
        reasons = [
            f"{count:,} {reason} ({', '.join(self._named[reason])}{', ...' if count > _NAMED else ''})"
            for reason, count in sorted(self._counts.items())
        ]
        return "; ".join(unread + reasons)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderScan:
    """The images under a folder, and everything else that is there; all paths relative to it, with forward slashes.

    images: sorted as paths are, folder by folder.
    unread: files of a suffix that names no image.
    hidden_folders, hidden_files: those whose name begins with a dot, or that an operating system makes.
    unreadable: folders that may not be listed. linked_again: links to folders that are read in another place.
    broken_links: links to nothing. special: named pipes, sockets and devices.
    """

    images: tuple[str, ...]
    unread: tuple[str, ...]
    hidden_folders: tuple[str, ...]
    hidden_files: tuple[str, ...]
    unreadable: tuple[str, ...]
    linked_again: tuple[str, ...]
    broken_links: tuple[str, ...]
    special: tuple[str, ...]

    @property
    def not_readable(self) -> tuple[str, ...]:
        """What may be, or hold, images that cannot be read."""
        pipes = (path for path in self.special if suffix_of(path) in IMAGE_SUFFIXES)
        return tuple(sorted((*self.unreadable, *self.broken_links, *pipes)))

    @functools.cached_property
    def left_out(self) -> LeftOut:
        """What was left out and why."""
        found = LeftOut()
        for name in self.unread:
            found.add_unread(name)
        found.add_all(HIDDEN_FOLDERS, self.hidden_folders)
        found.add_all(HIDDEN_FILES, self.hidden_files)
        found.add_all("folders that may not be read", self.unreadable)
        found.add_all("links to folders that are read already", self.linked_again)
        found.add_all("links to nothing that can be read", self.broken_links)
        found.add_all("named pipes, sockets or devices", self.special)
        return found


def is_hidden_folder(name: str) -> bool:
    """Whether images in a folder of this name are left out: it begins with a dot, or an operating system makes it."""
    return name.startswith(".") or name in _SYSTEM_FOLDERS


def is_hidden_file(name: str) -> bool:
    """Whether a file of this name is left out, as `is_hidden_folder`."""
    return name.startswith(".") or name.lower() in _SYSTEM_FILES


def scan_folder(root: Path) -> FolderScan:
    """Find the images (`IMAGE_SUFFIXES`, any case) under `root`, at any depth.

    Links are followed, but no folder is read twice: where it can be reached in several ways, the one without links is
    taken, or else the first in alphabetical order. Raises InputError when `root` itself cannot be listed.
    """
    found = _Scan(root)
    found.run()
    return FolderScan(
        images=tuple(sorted(found.images, key=lambda path: path.split("/"))),
        unread=tuple(sorted(found.unread)),
        hidden_folders=tuple(sorted(found.hidden_folders)),
        hidden_files=tuple(sorted(found.hidden_files)),
        unreadable=tuple(sorted(found.unreadable)),
        linked_again=tuple(sorted(found.linked_again)),
        broken_links=tuple(sorted(found.broken_links)),
        special=tuple(sorted(found.special)),
    )


class _Scan:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: set[tuple[int, int]] = set()
        self._links: list[str] = []
        self.images: list[str] = []
        self.unread: list[str] = []
        self.hidden_folders: list[str] = []
        self.hidden_files: list[str] = []
        self.unreadable: list[str] = []
        self.linked_again: list[str] = []
        self.broken_links: list[str] = []
        self.special: list[str] = []

    def run(self) -> None:
        try:
            os.scandir(self._root).close()
        except OSError as error:
            message = f"expected a folder of faces at {self._root}, found: {error.strerror or error}"
            raise InputError(message) from error
        self._walk("")
        while self._links:
            waiting, self._links = sorted(self._links, key=lambda path: path.split("/")), []
            for link in waiting:
                self._walk(link)

    def _walk(self, start: str) -> None:
        """Everything under the folder `start` but what lies behind links to other folders, which are collected."""
        waiting = [start]
        while waiting:
            folder = waiting.pop()
            try:
                status = (self._root / folder).stat()
                if (status.st_dev, status.st_ino) in self._seen:
                    self.linked_again.append(folder)
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                with os.scandir(self._root / folder) as entries:
                    waiting += self._read(f"{folder}/" if folder else "", entries)
            except OSError:
                self.unreadable.append(folder)

    def _read(self, prefix: str, entries: Iterable[os.DirEntry[str]]) -> list[str]:
        """Take the files of one folder; the folders in it that are no links."""
        folders = []
        for entry in entries:
            path = prefix + entry.name
            if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 (of a Path it may raise)
                self.broken_links.append(path)
            elif entry.is_dir():
                if is_hidden_folder(entry.name):
                    self.hidden_folders.append(path)
                elif entry.is_symlink():
                    self._links.append(path)
                else:
                    folders.append(path)
            elif not entry.is_file():
                self.special.append(path)
            elif is_hidden_file(entry.name):
                self.hidden_files.append(path)
            else:
                (self.images if suffix_of(path) in IMAGE_SUFFIXES else self.unread).append(path)
        return folders


def suffix_of(name: str) -> str:
    """The suffix of a file's name or path in lower case; empty for none."""
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path a name takes seconds for a million)


def _shown(suffix: str) -> str:
    return (suffix if suffix.isprintable() else ascii(suffix))[:_LONGEST_SHOWN]
