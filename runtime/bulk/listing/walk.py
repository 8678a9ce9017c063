"""The images under a folder one after the other, for folders of millions: nothing is kept of those that were found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.faces.scan import HIDDEN_FILES, HIDDEN_FOLDERS, LeftOut, is_hidden_file, is_hidden_folder, suffix_of


def walk_images(root: Path, left_out: LeftOut) -> Iterator[str]:
    """Yield the images (`IMAGE_SUFFIXES`, any case) under `root`, at any depth, relative to it, sorted as paths are.

    What `faces.scan.scan_folder` leaves out is left out here, and added to `left_out`. Links to folders come last, in
    the order of their names; no folder is read twice. What may be, or hold, images and cannot be read is yielded as
    well: whoever reads it learns why. Memory is that of one folder's names. Raises InputError for a `root` that cannot
    be listed.
    """
    try:
        os.scandir(root).close()
    except OSError as error:
        message = f"expected a folder of images at {root}, found: {error.strerror or error}"
        raise InputError(message) from error
    yield from _Walk(root, left_out).run()


class _Walk:
    def __init__(self, root: Path, left_out: LeftOut) -> None:
        self._root, self._left_out = root, left_out
        self._tops: dict[str, tuple[int, int]] = {}  # the root and what links lead to, by real path
        self._links: list[str] = []

    def run(self) -> Iterator[str]:
        yield from self._walk_from("")
        while self._links:
            waiting, self._links = sorted(self._links, key=lambda path: path.split("/")), []
            for link in waiting:
                if self._is_read(os.path.realpath(self._root / link)):
                    self._left_out.add("links to folders that are read already", link)
                else:
                    yield from self._walk_from(link)

    def _walk_from(self, top: str) -> Iterator[str]:
        """Everything under a folder but what lies behind links to other folders, which are collected."""
        try:
            status = (self._root / top).stat()
        except OSError:
            yield top
            return
        self._tops[os.path.realpath(self._root / top)] = (status.st_dev, status.st_ino)
        waiting = [iter(self._entries_of(top, is_top=True))]
        while waiting:
            name = next(waiting[-1], None)
            if name is None:
                waiting.pop()
            elif name.endswith("/"):
                waiting.append(iter(self._entries_of(name[:-1], is_top=False)))
            else:
                yield name

    def _entries_of(self, folder: str, *, is_top: bool) -> list[str]:
        """The images in one folder and the folders in it, which end with a slash, sorted."""
        try:
            status = (self._root / folder).stat()
            if not is_top and (status.st_dev, status.st_ino) in self._tops.values():
                self._left_out.add("links to folders that are read already", folder)
                return []
            prefix = f"{folder}/" if folder else ""
            with os.scandir(self._root / folder) as entries:
                found = [name for entry in entries if (name := self._kept(prefix, entry))]
        except OSError:
            return [folder]
        found.sort(key=lambda name: name.removesuffix("/"))
        return found

    def _kept(self, prefix: str, entry: os.DirEntry[str]) -> str:
        """What is to be read of an entry, with a slash for a folder; empty for nothing now."""
        path = prefix + entry.name
        if entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 (of a Path it may raise)
            return self._unless(not _is_image(path), "links to nothing that can be read", path)
        if entry.is_dir():
            if is_hidden_folder(entry.name):
                return self._unless(True, HIDDEN_FOLDERS, path)
            if entry.is_symlink():
                self._links.append(path)
                return ""
            return f"{path}/"
        if is_hidden_file(entry.name):
            return self._unless(True, HIDDEN_FILES, path)
        if not entry.is_file():
            return self._unless(not _is_image(path), "named pipes, sockets or devices", path)
        if _is_image(path):
            return path
        self._left_out.add_unread(path)
        return ""

    def _unless(self, is_left_out: bool, reason: str, path: str) -> str:
        if is_left_out:
            self._left_out.add(reason, path)
            return ""
        return path

    def _is_read(self, target: str) -> bool:
        """Whether a folder, by its real path, is one of those that are walked or lies in one, but in no hidden one."""
        for top in self._tops:
            if target == top or target.startswith(f"{top.rstrip('/')}/"):
                inside = PurePosixPath(target).relative_to(top).parts
                if not any(is_hidden_folder(name) for name in inside):
                    return True
        return False


def _is_image(path: str) -> bool:
    return suffix_of(path) in IMAGE_SUFFIXES
