"""Aligned faces by identity, opened as arrays."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError, UsageError
from efq.runtime.faces.images import IMAGE_SUFFIXES
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.duplicates import MOST_COMPARED, check_duplicates
from efq.toolchain.data.identities import IdentityLevel, check_identities, identity_names
from efq.toolchain.data.listing import read_listing
from efq.toolchain.data.near_duplicates import Hashes, near_groups, near_hashes
from efq.toolchain.data.selection import select_images
from efq.toolchain.data.sources.decoding import decode_faces
from efq.toolchain.data.sources.registry import open_source
from efq.toolchain.data.sources.source import FaceSource
from efq.toolchain.data.summary import describe_set

_CONTRACT = InputContract()

_logger = logging.getLogger(__name__)

PREFIX_DIGITS = 16
"""Of the hashes in which students and artifacts name the images they were fine-tuned on."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FaceSet:
    """Aligned faces of known identities, N images of M identities.

    source: where they are, for messages: as a rule a folder.
    paths: of each image, its key in the source: relative to the folder, with forward slashes.
    labels: (N,) int64, place of each image's identity in `identities`.
    identities: their names, sorted: in a folder those of the folders that hold the images, relative to it.
    hashes: SHA-256 of each image file's bytes, 64 hexadecimal digits.
    pixel_hashes: of each image's pixels as they are stored, before any stretching (`pixel_hash`).
    unreadable: paths of the images that were skipped because they cannot be decoded.
    images: (N, H, W, 3) uint8 RGB; mapped from the cache file where there is one (writing changes the copy in memory).
    """

    source: str
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    identities: tuple[str, ...]
    hashes: tuple[str, ...]
    pixel_hashes: tuple[str, ...]
    unreadable: tuple[str, ...]
    images: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def short_hashes(self) -> frozenset[str]:
        """The first digits of every image's hash, the form in which a student names its training images."""
        return frozenset(value[:PREFIX_DIGITS] for value in self.hashes)

    @property
    def short_pixel_hashes(self) -> frozenset[str]:
        """As `short_hashes`, of the pixels."""
        return frozenset(value[:PREFIX_DIGITS] for value in self.pixel_hashes)

    @functools.cached_property
    def near_hashes(self) -> Hashes:
        """(N, windows, NEAR_BYTES), of the images as they are here: 0.2 ms each, once."""
        return near_hashes(self.images)

    @functools.cached_property
    def near_groups(self) -> NDArray[np.int64]:
        """The first image of the photo that each shows (N,), by `near_groups`; itself in sets of over MOST_COMPARED."""
        return near_groups(self.near_hashes) if len(self) <= MOST_COMPARED else np.arange(len(self))

    @property
    def sha256(self) -> str:
        """One hash of the whole set, whatever its order: SHA-256 of the sorted hashes of the images, one a line."""
        return hashlib.sha256("\n".join(sorted(self.hashes)).encode()).hexdigest()


def open_faces(
    faces: Path | FaceSource,
    *,
    listing: Path | None = None,
    max_images: int | None = None,
    contract: InputContract = _CONTRACT,
    identity_level: IdentityLevel | None = None,
    cache: bool = True,
    seed: int = 0,
    resize: bool = False,
    progress: ShowProgress = no_progress,
) -> FaceSet:
    """Open the faces in `faces`, a folder, a RecordIO file, tars or what else a face format recognizes.

    Images are decoded once and kept in `$EFQ_CACHE` (default ~/.cache/efq) unless `cache` is False. Those that cannot
    be decoded are named in a warning, skipped and listed in `unreadable`. So are images of a photo that another
    identity's image shows too (`check_duplicates`); what is open is logged in one line.

    Args:
        faces: a folder with one folder of images (`IMAGE_SUFFIXES`) per identity, at any depth: the identity of an
            image is the folder that holds it. Or any other source: of RecordIO and of tars with labels it is the label.
        identity_level: which folder names the identity: N for the N-th below `faces`, or "leaf" for the one that holds
            the image. None is "leaf" where the folders can be read in no other way, and an error where they can.
        listing: file that names the images to take, one path within `faces` a line (what follows a tab is ignored).
        max_images: keep at most so many, whole identities as far as possible, those with two images or more first.
        contract: gives the size the images have.
        seed: of the choice that `max_images` makes.
        resize: stretch images of another size instead of refusing them; they are then not aligned to the template.
            A square face is cut, not stretched, for the template that is a square one's without its outer columns.
        progress: shows how many images are decoded.

    Raises:
        InputError: nothing there, no faces in it, images without an identity, folders of which several may name the
            identity, a listing that names what is not there, images of another size, more than a tenth of the images
            under several identities.
        UsageError: `max_images` or `identity_level` is not positive.
    """
    if max_images is not None and max_images < 1:
        message = f"expected a positive number of images (--max-images), found {max_images}"
        raise UsageError(message)
    source = open_source(faces)
    paths = face_paths(source, listing, identity_level)
    if max_images is not None and max_images < len(paths):
        names = _identities(source, paths, identity_level)
        chosen = select_images(np.unique(names, return_inverse=True)[1], max_images, seed)
        _logger.info("%d of %d images taken (--max-images)", len(chosen), len(paths))
        paths = [paths[index] for index in chosen]
    found = open_paths(
        source, paths, identity_level=identity_level, contract=contract, cache=cache, resize=resize, progress=progress
    )
    found = _without_contradictory(found)
    _logger.info("%s", describe_set(found.source, found.labels))
    return found


def _without_contradictory(faces: FaceSet) -> FaceSet:
    """Without images of one photo under several identities; copies within one identity stay."""
    duplicates = check_duplicates(faces.source, faces.paths, faces.pixel_hashes, faces.labels, faces.near_groups)
    if copies := len(duplicates.copies) + len(duplicates.near_copies):
        _logger.info("%d images are copies of another one of the same identity", copies)
    if not len(duplicates.contradictory):
        return faces
    kept = np.setdiff1d(np.arange(len(faces)), duplicates.contradictory)
    identities, labels = np.unique(faces.labels[kept], return_inverse=True)
    return dataclasses.replace(
        faces,
        paths=tuple(faces.paths[place] for place in kept),
        labels=labels.astype(np.int64),
        identities=tuple(faces.identities[place] for place in identities),
        hashes=tuple(faces.hashes[place] for place in kept),
        pixel_hashes=tuple(faces.pixel_hashes[place] for place in kept),
        images=faces.images[kept],
    )


def open_paths(
    faces: Path | FaceSource,
    paths: Sequence[str],
    *,
    identity_level: IdentityLevel | None = None,
    contract: InputContract = _CONTRACT,
    cache: bool = True,
    resize: bool = False,
    progress: ShowProgress = no_progress,
) -> FaceSet:
    """Open all of the images `paths` of `faces`, in this order; otherwise as `open_faces`, which finds them itself.

    Raises InputError for images of another size, or when none can be decoded.
    """
    source = open_source(faces)
    decoded = decode_faces(source, paths, contract, cache=cache, resize=resize, progress=progress)
    if not decoded.keys:
        message = f"expected faces in {source.name}, found {len(paths)} images, none of which can be decoded"
        raise InputError(message)
    identities, labels = np.unique(_identities(source, decoded.keys, identity_level), return_inverse=True)
    return FaceSet(
        source=source.name,
        paths=tuple(decoded.keys),
        labels=labels.astype(np.int64),
        identities=tuple(identities.tolist()),
        hashes=tuple(decoded.hashes),
        pixel_hashes=tuple(decoded.pixel_hashes),
        unreadable=tuple(decoded.unreadable),
        images=decoded.images,
    )


def face_paths(
    faces: Path | FaceSource, listing: Path | None = None, identity_level: IdentityLevel | None = None
) -> list[str]:
    """Paths of all images in `faces`, or of those a listing names, sorted, after a check of their identities.

    Raises InputError and UsageError as `open_faces` does.
    """
    source = open_source(faces)
    paths = list(source.keys()) if listing is None else read_listing(listing, source)
    if not paths:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        message = f"expected faces in {source.name} ({suffixes}; one folder per identity, or with labels), found none"
        raise InputError(message)
    folders = [source.identity(path) for path in paths]
    check_identities(folders, identity_level, source.name)
    names = identity_names(folders, identity_level)
    nameless = [path for path, name in zip(paths, names, strict=True) if not name]
    if nameless:
        level = "" if identity_level in (None, "leaf") else f" at level {identity_level}"
        message = (
            f"expected the identity{level} of every face in {source.name}, found {len(nameless)} without one, first "
            f"{nameless[0]}; in a folder, make one folder per person, or name the folder above; a verification set "
            "(.bin) says of pairs only: give it as --pairs"
        )
        raise InputError(message)
    return paths


def _identities(source: FaceSource, paths: Sequence[str], level: IdentityLevel | None) -> list[str]:
    return identity_names([source.identity(path) for path in paths], level)


def draw_images(faces: FaceSet, count: int, seed: int) -> NDArray[np.uint8]:
    """(min(count, N), H, W, 3) images drawn without repetition, the same for the same seed."""
    return np.array(faces.images[draw_places(len(faces), count, seed)])


def draw_places(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """(min(count, total),) places of `draw_images` in a set of `total` images, sorted."""
    return np.sort(np.random.default_rng(seed).choice(total, min(count, total), replace=False))
