"""Images of a source by the names that lists give them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.toolchain.data.listing import find_key
from efq.toolchain.data.sources.source import FaceSource

_logger = logging.getLogger(__name__)


class ImageFinder:
    """Finds the images of `source` that the list at `path` names.

    A name is a path as `find_key` takes it. One without folders may lie in any folder, if there is one image of that
    name; and where there is no such image, one of the same name with another suffix is meant, as aligned copies may be
    PNG.
    """

    def __init__(self, path: Path, source: FaceSource) -> None:
        self._path, self._source = path, source
        self._known: dict[str, str | None] = {}
        self._elsewhere = self._other_suffix = 0

    def find(self, name: str) -> str | None:
        """The image's key, None where there is none. Raises InputError for a name of several images."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def log(self) -> None:
        """Say how many names were not found as they stand."""
        if self._elsewhere or self._other_suffix:
            _logger.info(
                "%s: of %d images %d are in folders that it does not name, and %d have another suffix than there",
                self._path,
                len(self._known),
                self._elsewhere,
                self._other_suffix,
            )

    def _find(self, name: str) -> str | None:
        for place, spelling in enumerate(_spellings(name)):
            key = find_key(spelling, self._source)
            if key is None and "/" not in spelling.replace("\\", "/"):
                key = self._by_bare_name(spelling.strip())
                self._elsewhere += key is not None
            if key is not None:
                self._other_suffix += place > 0
                return key
        return None

    def _by_bare_name(self, name: str) -> str | None:
        keys = self._by_name.get(name, [])
        if len(keys) > 1:
            message = (
                f"expected one image called {name} in {self._source.name}, as {self._path} names it without a folder, "
                f"found {len(keys)} ({keys[0]}, {keys[1]}); name the folder they are in with --faces"
            )
            raise InputError(message)
        return keys[0] if keys else None

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        keys = self._source.keys()
        for key in keys:
            found.setdefault(key.rpartition("/")[2], []).append(key)
        return found


def _spellings(name: str) -> Iterator[str]:
    """As it stands, then with every suffix of an image in place of its own, or behind it where it has none."""
    yield name
    bare = name.strip()
    suffix = PurePosixPath(bare.replace("\\", "/")).suffix
    stem = bare.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else bare
    yield from (f"{stem}{one}" for one in IMAGE_SUFFIXES if stem and stem + one != bare)
