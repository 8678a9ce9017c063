"""Faces as image files: one folder of images per identity, at any depth."""

from __future__ import annotations

import functools
import os
from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError
from efq.runtime.faces.images import read_image_bytes
from efq.runtime.faces.scan import FolderScan, scan_folder
from efq.toolchain.data.sources.container import log_left_out
from efq.toolchain.data.sources.source import Fingerprint


class FolderSource:
    """The image files under `root`; the identity of an image is the folder that holds it, unless that is `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    @functools.cached_property
    def scan(self) -> FolderScan:
        """What is in the folder, read once; a warning says what is left out. Raises InputError as `scan_folder`."""
        found = scan_folder(self._root)
        log_left_out(self.name, found.left_out)
        return found

    def keys(self) -> tuple[str, ...]:
        """Paths relative to the folder. Raises InputError as `scan` does."""
        return self.scan.images

    def __contains__(self, key: str, /) -> bool:
        path = PurePosixPath(key)
        inside = not path.is_absolute() and ".." not in path.parts
        return inside and os.path.isfile(self._root / path)  # noqa: PTH113 (of a Path it may raise)

    def identity(self, key: str) -> str:
        """The folder of the image, relative to the root."""
        return key.rpartition("/")[0]

    @functools.cached_property
    def _real_root(self) -> str:
        return os.path.realpath(self._root)

    def fingerprint(self, key: str) -> Fingerprint:
        """The root's place, and the file's size and times of change."""
        try:
            status = (self._root / key).stat()
        except OSError as error:
            message = f"expected an image at {self._root / key}, found: {error.strerror or error}"
            raise InputError(message) from error
        return self._real_root, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def read(self, key: str) -> bytes:
        """The file's bytes."""
        return read_image_bytes(self._root / key)


class FolderFormat:
    """Any folder: formats that a folder may be besides come before this one."""

    name = "folder"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a folder."""
        return os.path.isdir(path)  # noqa: PTH112 (of a Path it may raise)

    def open(self, path: Path) -> FolderSource:
        """The images under it."""
        return FolderSource(path)
