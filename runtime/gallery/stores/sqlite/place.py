"""The file of a gallery: which files are none, and how one is made whole."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import sys
from pathlib import Path

from efq.runtime.errors import GalleryError, UsageError
from efq.runtime.files import atomic_file
from efq.runtime.gallery.stores.sqlite.connection import Connection
from efq.runtime.gallery.stores.sqlite.schema import APPLICATION, SCHEMA_VERSION, STATEMENTS
from efq.runtime.machine.forks import RenewedLock
from efq.runtime.reading import kind_of_mode

_HEADER = 100  # bytes, https://www.sqlite.org/fileformat.html
_MAGIC = b"SQLite format 3\0"
_NETWORK = frozenset({"afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "nfs", "nfs4", "smb3", "smbfs"})

Identity = tuple[int, int]
"""Device and inode."""


def identity_of(path: Path) -> Identity | None:
    """Which file is there, None for none. Raises GalleryError for what is no regular file of one name.

    A link is refused: by two names, SQLite would keep two write-ahead logs of one file.
    """
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        message = f"expected a gallery at {path}, found: {getattr(error, 'strerror', None) or error}"
        raise GalleryError(message) from error
    if stat.S_ISLNK(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink > 1):
        message = f"expected a gallery at {path}, found a link; name the file itself, by its only name"
        raise GalleryError(message)
    if not stat.S_ISREG(status.st_mode):
        message = f"expected a gallery at {path}, found {kind_of_mode(status.st_mode)}"
        raise GalleryError(message)
    return status.st_dev, status.st_ino


def hold(path: Path) -> Identity:
    """Check that the file is a gallery of this version, by its first bytes, and keep it open until `release`.

    Raises GalleryError for another file. To close any descriptor of a file gives up all locks that this process has on
    it (POSIX), which are those of other stores as well: what is read of it is read by one that stays open.
    """
    with _holding.lock:
        descriptor = _open(path)
        status = os.fstat(descriptor)
        identity = status.st_dev, status.st_ino
        _held.setdefault(identity, []).append(descriptor)
    try:
        _check_header(path, os.pread(descriptor, _HEADER, 0))
    except BaseException:
        release(identity)
        raise
    return identity


def release(identity: Identity) -> None:
    """Undo one `hold`: the file is closed where no other holds it, after all connections to it are."""
    with _holding.lock:
        descriptors = _held[identity]
        _released[identity] = _released.get(identity, 0) + 1
        if _released[identity] == len(descriptors):
            del _held[identity], _released[identity]
            for descriptor in descriptors:
                os.close(descriptor)


_holding = RenewedLock()
_held: dict[Identity, list[int]] = {}
_released: dict[Identity, int] = {}


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        message = f"expected a gallery at {path}, found: {error.strerror}"
        raise GalleryError(message) from error


def _check_header(path: Path, header: bytes) -> None:
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        message = f"expected a gallery at {path}, found a file that is no SQLite database, or a damaged one"
        raise GalleryError(message)
    application, version = (int.from_bytes(header[start : start + 4], "big") for start in (68, 60))
    if application != APPLICATION:
        message = f"expected a gallery of EFQ at {path}, found another SQLite database"
        raise GalleryError(message)
    if version != SCHEMA_VERSION:
        message = f"expected a gallery of schema version {SCHEMA_VERSION} at {path}, found {version}; update EFQ"
        raise GalleryError(message)


def check_disk(path: Path) -> None:
    """Raise GalleryError for a network file system, where processes do not share memory as the database needs it."""
    if sys.platform != "linux":
        return
    kind = _file_system(os.path.realpath(path.parent))
    if kind in _NETWORK:
        message = (
            f"expected a gallery on a disk of this machine, found {kind} at {path.parent}; keep it on a local disk, or "
            "in PostgreSQL for several machines"
        )
        raise GalleryError(message)


def make_file(path: Path, record: tuple[object, ...]) -> None:
    """Write a new database with that row of `gallery`, readable by this user alone: whole or not at all, and durably.

    Where another process made one meanwhile, that one stays. Raises UsageError where it cannot be written, and where
    its folder is not there: a name that was mistyped makes no second, empty gallery elsewhere.
    """
    if not path.parent.is_dir():
        message = f"expected a folder at {path.parent} to make the gallery {path.name} in, found none; make it first"
        raise UsageError(message)
    try:
        with atomic_file(path, replace=False) as temporary:
            temporary.chmod(stat.S_IRUSR | stat.S_IWUSR)
            with contextlib.closing(sqlite3.connect(temporary, isolation_level=None, factory=Connection)) as connection:
                for statement in STATEMENTS:
                    connection.execute(statement, record if "?" in statement else ())
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(path.parent)
    except sqlite3.Error as error:
        message = f"cannot write a gallery at {path}: {error}"
        raise UsageError(message) from error
    except UsageError:
        if identity_of(path) is None:
            raise


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):  # a file system that does not
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _file_system(folder: str) -> str:
    """The kind of the mount that holds a folder, by Linux's list of mounts; empty where that is not known."""
    best, kind = "", ""
    with contextlib.suppress(OSError), Path("/proc/self/mounts").open(encoding="utf-8", errors="replace") as mounts:
        for line in mounts:
            words = line.split()
            if len(words) < 3:
                continue
            place = words[1].replace("\\040", " ").rstrip("/")
            if (folder == place or folder.startswith(f"{place}/")) and len(place) >= len(best):
                best, kind = place, words[2]
    return kind
