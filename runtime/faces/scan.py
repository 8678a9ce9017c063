"""What is in a folder of faces: one pass over it, which says what it leaves out and why."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES

_SYSTEM_FOLDERS = frozenset({"__MACOSX", "@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information"})
_SYSTEM_FILES = frozenset({"thumbs.db", "desktop.ini"})
DOCUMENTS = frozenset(
    {".txt", ".lst", ".md", ".rst", ".pdf", ".csv", ".tsv", ".json", ".yaml", ".yml", ".html", ".log"}
)
"""Suffixes of what may lie beside images and is no loss."""

_NAMED = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class FolderScan:
    """The images under a folder, and everything else that is there; all paths relative to it, with forward slashes.

    images: sorted as paths are, folder by folder.
    unread: how many files there are of each suffix (lower case, empty for none) that names no image.
    hidden_folders, hidden_files: those whose name begins with a dot, or that an operating system makes.
    unreadable: folders that may not be listed. linked_again: links to folders that are read in another place.
    broken_links: links to nothing. special: named pipes, sockets and devices.
    """

    images: tuple[str, ...]
    unread: Mapping[str, int]
    hidden_folders: tuple[str, ...]
    hidden_files: int
    unreadable: tuple[str, ...]
    linked_again: tuple[str, ...]
    broken_links: tuple[str, ...]
    special: tuple[str, ...]

    @property
    def all_expected(self) -> bool:
        """Whether nothing was left out but documents, and what operating systems and editors make."""
        problems = (self.unreadable, self.linked_again, self.broken_links, self.special)
        return not any(problems) and set(self.unread) <= DOCUMENTS

    @property
    def not_readable(self) -> tuple[str, ...]:
        """What may be, or hold, images that cannot be read."""
        pipes = (path for path in self.special if _suffix(path) in IMAGE_SUFFIXES)
        return tuple(sorted((*self.unreadable, *self.broken_links, *pipes)))

    @property
    def left_out(self) -> str:
        """What was left out and why, in one line; empty when nothing was."""
        total = sum(self.unread.values())
        kinds = ", ".join(f"{suffix or 'no suffix'} {count}" for suffix, count in sorted(self.unread.items()))
        parts = [
            f"{total} of types that are not read ({kinds})" if total else "",
            _named("hidden or system folders", self.hidden_folders),
            f"{self.hidden_files} hidden or system files" if self.hidden_files else "",
            _named("folders that may not be read", self.unreadable),
            _named("links to folders that are read already", self.linked_again),
            _named("links to nothing that can be read", self.broken_links),
            _named("named pipes, sockets or devices", self.special),
        ]
        return "; ".join(part for part in parts if part)


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
        unread=dict(found.unread),
        hidden_folders=tuple(sorted(found.hidden_folders)),
        hidden_files=found.hidden_files,
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
        self.unread: collections.Counter[str] = collections.Counter()
        self.hidden_folders: list[str] = []
        self.hidden_files = 0
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
                self.hidden_files += 1
            else:
                self._take(path, entry.name)
        return folders

    def _take(self, path: str, name: str) -> None:
        suffix = _suffix(name)
        if suffix in IMAGE_SUFFIXES:
            self.images.append(path)
        else:
            self.unread[suffix] += 1


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (a Path a name takes seconds for a million)


def _named(what: str, paths: tuple[str, ...]) -> str:
    if not paths:
        return ""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return f"{len(paths)} {what} ({', '.join(paths[:_NAMED])}{more})"
