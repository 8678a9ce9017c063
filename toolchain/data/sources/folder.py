"""Faces as image files: one folder of images per identity, at any depth."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError, UnreadableImageError
from efq.runtime.faces.images import find_images
from efq.toolchain.data.sources.source import Fingerprint


class FolderSource:
    """The image files under `root`; the identity of an image is the folder that holds it, unless that is `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @property
    def name(self) -> str:
        """The folder."""
        return str(self._root)

    def keys(self) -> tuple[str, ...]:
        """Paths relative to the folder."""
        return tuple(path.relative_to(self._root).as_posix() for path in find_images(self._root))

    def __contains__(self, key: str, /) -> bool:
        path = PurePosixPath(key)
        return not path.is_absolute() and ".." not in path.parts and (self._root / path).is_file()

    def identity(self, key: str) -> str:
        """The folder of the image, relative to the root."""
        parent = PurePosixPath(key).parent
        return "" if parent == PurePosixPath() else parent.as_posix()

    def fingerprint(self, key: str) -> Fingerprint:
        """The root's place, and the file's size and time of change."""
        try:
            status = (self._root / key).stat()
        except OSError as error:
            message = f"expected an image at {self._root / key}, found: {error.strerror or error}"
            raise InputError(message) from error
        return str(self._root.resolve()), status.st_size, status.st_mtime_ns

    def read(self, key: str) -> bytes:
        """The file's bytes."""
        try:
            return (self._root / key).read_bytes()
        except OSError as error:
            message = f"expected an image at {self._root / key}, found: {error.strerror or error}"
            raise UnreadableImageError(message) from error


class FolderFormat:
    """Any folder: formats that a folder may be besides come before this one."""

    name = "folder"

    def recognizes(self, path: Path) -> bool:
        """Whether it is a folder."""
        return path.is_dir()

    def open(self, path: Path) -> FolderSource:
        """The images under it."""
        return FolderSource(path)
