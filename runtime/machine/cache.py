"""Upkeep of EFQ's cache folder: how large it may become, and what it holds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from pathlib import Path

from efq.runtime.errors import UsageError
from efq.runtime.files import cache_folder

LIMIT_VARIABLE = "EFQ_CACHE_LIMIT"
DEFAULT_LIMIT = 20 * 2**30

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"([0-9]{1,15})\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CacheReport:
    """The cache as it is: `folder` None where there is none, `bytes` it holds of the `limit`; `problem` with it."""

    folder: str | None
    bytes: int
    limit: int
    problem: str | None


def cache_limit() -> int:
    """How many bytes the cache may hold: `$EFQ_CACHE_LIMIT` ("500M", "50G", 0 to keep nothing), or 20 GiB.

    Raises UsageError for what is no size.
    """
    text = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not text:
        return DEFAULT_LIMIT
    found = _SIZE.fullmatch(text)
    if found is None:
        message = f"expected a size such as 500M or 50G in {LIMIT_VARIABLE}, found {text!r}"
        raise UsageError(message)
    return int(found[1]) * _UNITS[found[2].upper()]


def make_room(folder: Path, pattern: str, needed: int) -> None:
    """Remove the files of `pattern` in `folder` that were used longest ago until `needed` more bytes are in the limit.

    A process that has such a file open keeps it. Raises UsageError as `cache_limit`.
    """
    room = cache_limit() - needed - sum(_size(path) for path in _files(folder))
    for path in sorted(folder.glob(pattern), key=_last_used):
        if room >= 0:
            break
        size = _size(path)
        with contextlib.suppress(OSError):
            path.unlink()
            room += size


def mark_used(path: Path) -> None:
    """Note that `path` was used now, for `make_room`; of a cache that cannot be written it is left out."""
    with contextlib.suppress(OSError):
        os.utime(path)


def examine_cache() -> CacheReport:
    """What the cache is and holds; never raises."""
    try:
        limit = cache_limit()
        folder = cache_folder()
    except UsageError as error:
        return CacheReport(folder=None, bytes=0, limit=DEFAULT_LIMIT, problem=str(error))
    used = sum(_size(path) for path in _files(folder))
    return CacheReport(folder=str(folder), bytes=used, limit=limit, problem=_problem(folder))


def _problem(folder: Path) -> str | None:
    """Why nothing can be written to `folder`, which may not be there yet."""
    existing = folder
    while not os.path.lexists(existing) and existing != existing.parent:
        existing = existing.parent
    if not os.path.isdir(existing):  # noqa: PTH112 (of a Path it may raise)
        return f"{existing} is no folder"
    return None if os.access(existing, os.W_OK | os.X_OK) else f"{existing} cannot be written"


def _files(folder: Path) -> list[Path]:
    """Regular files at any depth, links left out."""
    found = []
    for above, _, names in os.walk(folder):
        paths = (Path(above, name) for name in names)
        found += [path for path in paths if not path.is_symlink() and path.is_file()]
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _last_used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
