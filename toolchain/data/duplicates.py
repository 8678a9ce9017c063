"""Images of a set that show one photo, whatever their files are called and however they are stored."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import logging
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from efq.runtime.errors import InputError

_MOST_CONTRADICTORY = 0.1  # of all images: more say that the folders are no people, not that a few were misplaced
_NAMED = 3

MOST_COMPARED = 100_000
"""Images among which near-duplicates are looked for, each compared with each: in minutes, on one core."""

_logger = logging.getLogger(__name__)


def pixel_hash(image: NDArray[np.uint8]) -> str:
    """SHA-256 of a decoded image (H, W, 3) uint8 RGB at the size it is stored in, 64 digits: the `PIXEL_SCHEME`.

    Of the text "HxW" and the bytes of the pixels, row by row. It is the same for every lossless copy; an image that is
    compressed anew, resized or cut has other pixels (`efq.toolchain.data.near_duplicates`).
    """
    digest = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Duplicates:
    """Places of images that show one photo, in groups of two or more, each ascending.

    of_several: groups whose images are said to be of several people; of_one: groups of the same pixels within one
    person; near: groups of one photo within one person, of other pixels or the same.
    """

    of_several: tuple[tuple[int, ...], ...]
    of_one: tuple[tuple[int, ...], ...]
    near: tuple[tuple[int, ...], ...] = ()

    @property
    def contradictory(self) -> NDArray[np.int64]:
        """Places of all images that are said to be of several people, ascending."""
        return np.array(sorted(place for group in self.of_several for place in group), np.int64)

    @property
    def copies(self) -> NDArray[np.int64]:
        """Places of all images of one person but the first of each group of the same pixels, ascending."""
        return np.array(sorted(place for group in self.of_one for place in group[1:]), np.int64)

    @property
    def near_copies(self) -> NDArray[np.int64]:
        """Places of all images of one person but the first of each photo, without `copies`, ascending."""
        of_photo = [place for group in self.near for place in group[1:]]
        return np.setdiff1d(np.array(of_photo, np.int64), self.copies)

    @property
    def near_pairs(self) -> int:
        """Pairs of images of one person and one photo, without `copies`."""
        left_out = set(self.copies.tolist())
        sizes = [len([place for place in group if place not in left_out]) for group in self.near]
        return sum(size * (size - 1) // 2 for size in sizes)


def find_duplicates(
    pixel_hashes: Sequence[str], labels: NDArray[np.int64], near_groups: NDArray[np.int64] | None = None
) -> Duplicates:
    """Group images by their pixels, and by the photo they show.

    `labels` (N,) say who is on each; `near_groups` (N,) are equal for images of one photo, None where unknown.
    """
    exact = _grouped(pixel_hashes)
    near = [] if near_groups is None else _grouped(_joined(near_groups, exact).tolist())
    mixed = [group for group in near or exact if len(set(labels[list(group)].tolist())) > 1]
    contradictory = {place for group in mixed for place in group}
    return Duplicates(
        of_several=tuple(mixed),
        of_one=tuple(group for group in exact if group[0] not in contradictory),
        near=tuple(group for group in near if group[0] not in contradictory),
    )


def _grouped(values: Sequence[Hashable]) -> list[tuple[int, ...]]:
    """Places of equal values, where there are two or more."""
    groups: dict[Hashable, list[int]] = collections.defaultdict(list)
    for place, value in enumerate(values):
        groups[value].append(place)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _joined(groups: NDArray[np.int64], exact: Sequence[tuple[int, ...]]) -> NDArray[np.int64]:
    """`groups`, those of equal pixels together: images without contrast are known by nothing else."""
    joined = groups.copy()
    for group in exact:
        for place in group[1:]:
            if joined[place] != joined[group[0]]:
                joined[joined == joined[place]] = joined[group[0]]
    return joined


def check_duplicates(
    source: str,
    paths: Sequence[str],
    pixel_hashes: Sequence[str],
    labels: NDArray[np.int64],
    near_groups: NDArray[np.int64] | None = None,
) -> Duplicates:
    """The duplicates among images `paths` of `source`, named in warnings; otherwise as `find_duplicates`.

    Images of one photo under several identities are to be left out, all of them: which one is right is not known, and
    each pair of them would be a false impostor of cosine 1, or nearly. Raises InputError when they are more than a
    tenth of all.
    """
    found = find_duplicates(pixel_hashes, labels, near_groups)
    count = len(found.contradictory)
    if count:
        named = f"{count} images in {source} show the photo of another identity's image ({_examples(found, paths)})"
        if count > _MOST_CONTRADICTORY * len(paths):
            message = (
                f"expected the images of each person in {source} in one folder, found that {named}, of {len(paths)} in "
                "all; remove the copies, or say which folder names the person (--identity-level)"
            )
            raise InputError(message)
        _logger.warning("left out: %s, and nothing says whose they are", named)
    if len(paths) > MOST_COMPARED:
        _logger.warning(
            "%d images in %s are too many to compare each with each: copies compressed anew or resized are not found",
            len(paths),
            source,
        )
    return found


def _examples(found: Duplicates, paths: Sequence[str]) -> str:
    groups = [" = ".join(paths[place] for place in group[:_NAMED]) for group in found.of_several]
    return ", ".join(groups[:_NAMED]) + (", ..." if len(groups) > _NAMED else "")
