"""Images of a set that show the same pixels, whatever their files are called and however they are stored."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

_MOST_CONTRADICTORY = 0.1  # of all images: more say that the folders are no people, not that a few were misplaced
_NAMED = 3

_logger = logging.getLogger(__name__)


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """SHA-256 of a decoded image (H, W, 3) uint8 RGB at the size it is stored in, 64 digits: the `PIXEL_SCHEME`.

    Of the text "HxW" and the bytes of the pixels, row by row. It is the same for every lossless copy; an image that is
    compressed anew, resized or cut has other pixels.
    """
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Places of images that show the same pixels, in groups of two or more, each ascending.

    of_several: groups whose images are said to be of several people; of_one: groups within one person.
    """

    of_several: tuple[tuple[int, ...], ...]
    of_one: tuple[tuple[int, ...], ...]

    @property
    def contradictory(self) -> NDArray[np.int64]:
        """Places of all images that are said to be of several people, ascending."""
        return np.array(sorted(place for group in self.of_several for place in group), np.int64)

    @property
    def copies(self) -> NDArray[np.int64]:
        """Places of all images of one person but the first of each group, ascending."""
        return np.array(sorted(place for group in self.of_one for place in group[1:]), np.int64)


def find_duplicates(pixel_hashes: Sequence[str], labels: NDArray[np.int64]) -> Duplicates:
    """Group images by their pixels; `labels` (N,) say who is on each."""
    groups: dict[str, list[int]] = collections.defaultdict(list)
    for place, value in enumerate(pixel_hashes):
        groups[value].append(place)
    repeated = [tuple(group) for group in groups.values() if len(group) > 1]
    several = [len(set(labels[list(group)].tolist())) > 1 for group in repeated]
    return Duplicates(
        of_several=tuple(group for group, mixed in zip(repeated, several, strict=True) if mixed),
        of_one=tuple(group for group, mixed in zip(repeated, several, strict=True) if not mixed),
    )


def check_duplicates(
    source: str, paths: Sequence[str], pixel_hashes: Sequence[str], labels: NDArray[np.int64]
) -> Duplicates:
    """The duplicates among images `paths` of `source`, named in warnings.

    Images of the same pixels under several identities are to be left out, all of them: which one is right is not
    known, and each pair of them would be a false impostor of cosine 1. Raises InputError when they are more than a
    tenth of all.
    """
    found = find_duplicates(pixel_hashes, labels)
    count = len(found.contradictory)
    if count:
        named = f"{count} images in {source} show the pixels of another identity's image ({_examples(found, paths)})"
        if count > _MOST_CONTRADICTORY * len(paths):
            message = (
                f"expected the images of each person in {source} in one folder, found that {named}, of {len(paths)} in "
                "all; remove the copies, or say which folder names the person (--identity-level)"
            )
            raise InputError(message)
        _logger.warning("left out: %s, and nothing says whose they are", named)
    return found


def _examples(found: Duplicates, paths: Sequence[str]) -> str:
    groups = [" = ".join(paths[place] for place in group[:_NAMED]) for group in found.of_several]
    return ", ".join(groups[:_NAMED]) + (", ..." if len(groups) > _NAMED else "")
