"""What a run is of: the images that a user names, by files and folders or by a list."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from efq.runtime.bulk.folder import BulkFolder
from efq.runtime.bulk.listing.list_file import open_list
from efq.runtime.bulk.listing.listed import ListedImage, in_shards, write_shard_list
from efq.runtime.bulk.listing.walk import walk_images
from efq.runtime.bulk.record import Listing
from efq.runtime.errors import InputError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.faces.scan import LeftOut
from efq.runtime.gallery.gallery import is_name
from efq.runtime.progress import ShowProgress
from efq.runtime.reading import FILE_LIMIT, sha256_file

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sources:
    """images: files and folders, or none and a `list_file`."""

    images: tuple[Path, ...]
    list_file: Path | None

    def digest(self) -> str:
        """SHA-256 of what is named, and of the folder that it is named from; of a list, of its content.

        Raises InputError for a list that cannot be read.
        """
        named = [os.fsencode(Path.cwd()), *(os.fsencode(path) for path in self.images)]
        if self.list_file is not None:
            named.append(sha256_file(self.list_file, limit=FILE_LIMIT, expected="a list of images").encode())
        return hashlib.sha256(b"\0".join(named)).hexdigest()

    def write_lists(self, folder: BulkFolder, shard_images: int, progress: ShowProgress) -> Listing:
        """Find all images and write the list of each shard. Raises InputError where there are none."""
        digests = []
        count = 0
        with contextlib.ExitStack() as stack:
            found = stack.enter_context(_found(self))
            shown = stack.enter_context(progress("listing", None, "images"))
            for number, part in enumerate(in_shards(found.images(), shard_images)):
                digests.append(write_shard_list(folder.list_of(number), part))
                count += len(part)
                shown.advance(len(part))
        if not count:
            place = self.list_file or ", ".join(map(str, self.images[:3]))
            message = f"expected images ({', '.join(IMAGE_SUFFIXES)}) in {place}, found none"
            raise InputError(message)
        return Listing(
            images=count,
            sha256=tuple(digests),
            has_people=found.has_people,
            has_landmarks=found.has_landmarks,
            root=found.root,
            folders=tuple(place for place, path in enumerate(self.images) if _is_folder(path)),
        )


class _Listed:
    """Images of a list."""

    root = ""

    def __init__(self, images: Iterator[ListedImage], *, has_people: bool, has_landmarks: bool) -> None:
        self._images, self.has_people, self.has_landmarks = images, has_people, has_landmarks

    def images(self) -> Iterator[ListedImage]:
        return self._images


class _Named:
    """Images of files and folders. Whether they are of one folder of a folder per person is known at the end."""

    has_landmarks = False

    def __init__(self, paths: tuple[Path, ...]) -> None:
        self._paths = paths
        self.has_people = len(paths) == 1 and _is_folder(paths[0])
        self._is_kept = True
        self._root = f"{paths[0]}/"

    @property
    def root(self) -> str:
        return self._root if self.has_people and self._root.isprintable() else ""

    def images(self) -> Iterator[ListedImage]:
        for path in self._paths:
            if not _is_folder(path):
                yield ListedImage(path=str(path))
                continue
            left_out = LeftOut()
            for image in walk_images(path, left_out):
                yield ListedImage(path=str(path / image), person=self._person(image))
            if left_out:
                _logger.info("left out of %s: %s", path, left_out)

    def _person(self, image: str) -> str:
        """The folder that holds the image, where all folders are people's so far."""
        parts = PurePosixPath(image).parts
        if self.has_people and len(parts) != 2:
            self.has_people = False
        elif self.has_people and not all(map(is_name, parts)):
            _logger.warning("nobody is said to be on the images: a gallery cannot hold the name %a", image[:200])
            self.has_people = False
        return parts[0] if self.has_people else ""


@contextlib.contextmanager
def _found(sources: Sources) -> Iterator[_Listed | _Named]:
    if sources.list_file is None:
        yield _Named(sources.images)
        return
    with open_list(sources.list_file) as found:
        yield _Listed(found.images, has_people=found.has_people, has_landmarks=found.has_landmarks)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False
