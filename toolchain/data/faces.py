"""A folder of aligned faces by identity, opened as arrays."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import InputError, UsageError
from efq.runtime.faces.images import IMAGE_SUFFIXES, find_images
from efq.toolchain.data.selection import select_images
from efq.toolchain.data.sources.decoding import decode_faces

_CONTRACT = InputContract()


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FaceSet:
    """Aligned faces of known identities, N images of M identities.

    root: the folder.
    paths: of each image, relative to `root`, with forward slashes.
    labels: (N,) int64, place of each image's identity in `identities`.
    identities: the folders that hold the images, relative to `root`, sorted.
    hashes: SHA-256 of each image file's bytes, 64 hexadecimal digits.
    unreadable: relative paths of the files that were skipped because they cannot be decoded.
    images: (N, H, W, 3) uint8 RGB; mapped from the cache file where there is one (writing changes the copy in memory).
    """

    root: Path
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    identities: tuple[str, ...]
    hashes: tuple[str, ...]
    unreadable: tuple[str, ...]
    images: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def short_hashes(self) -> frozenset[str]:
        """The first 16 digits of every image's hash, the form in which a student names its training images."""
        return frozenset(value[:16] for value in self.hashes)

    @property
    def sha256(self) -> str:
        """One hash of the whole set, whatever its order: SHA-256 of the sorted hashes of the images, one a line."""
        return hashlib.sha256("\n".join(sorted(self.hashes)).encode()).hexdigest()


def open_faces(
    root: Path,
    *,
    listing: Path | None = None,
    max_images: int | None = None,
    contract: InputContract = _CONTRACT,
    cache: bool = True,
    seed: int = 0,
    resize: bool = False,
) -> FaceSet:
    """Open the faces under `root`; the identity of an image is the folder that holds it.

    Images are decoded once and kept in `$EFQ_CACHE` (default ~/.cache/efq) unless `cache` is False. Files that cannot
    be decoded are named on stderr, skipped and listed in `unreadable`.

    Args:
        root: folder with one folder of images (.jpg, .jpeg, .png) per identity, at any depth.
        listing: file that names the images to take, one path relative to `root` a line (what follows a tab is ignored).
        max_images: keep at most so many, whole identities as far as possible, those with two images or more first.
        contract: gives the size the images have.
        seed: of the choice that `max_images` makes.
        resize: stretch images of another size instead of refusing them; they are then not aligned to the template.

    Raises:
        InputError: no folder, no faces in it, images outside identity folders, a listing that names what is not there,
            images of another size.
        UsageError: `max_images` is not positive.
    """
    paths = face_paths(root, listing)
    if max_images is not None:
        if max_images < 1:
            message = f"expected a positive number of images, found {max_images}"
            raise UsageError(message)
        chosen = select_images(np.unique(_identity_folders(paths), return_inverse=True)[1], max_images, seed)
        paths = [paths[index] for index in chosen]
    return open_paths(root, paths, contract=contract, cache=cache, resize=resize)


def open_paths(
    root: Path,
    paths: Sequence[str],
    *,
    contract: InputContract = _CONTRACT,
    cache: bool = True,
    resize: bool = False,
) -> FaceSet:
    """Open the images `paths` under `root`, in this order; otherwise as `open_faces`, which finds them itself.

    Raises InputError for images of another size, or when none can be decoded.
    """
    decoded = decode_faces(root, list(paths), contract, cache=cache, resize=resize)
    if not decoded.paths:
        message = f"expected faces under {root}, found {len(paths)} files, none of which can be decoded"
        raise InputError(message)
    identities, labels = np.unique(_identity_folders(decoded.paths), return_inverse=True)
    return FaceSet(
        root=root,
        paths=tuple(decoded.paths),
        labels=labels.astype(np.int64),
        identities=tuple(identities.tolist()),
        hashes=tuple(decoded.hashes),
        unreadable=tuple(decoded.unreadable),
        images=decoded.images,
    )


def is_file_under(root: Path, path: str) -> bool:
    """Whether `path` is relative, stays under `root` and is a file there."""
    relative = PurePosixPath(path)
    return not relative.is_absolute() and ".." not in relative.parts and (root / relative).is_file()


def face_paths(root: Path, listing: Path | None = None) -> list[str]:
    """Paths of all images under `root`, or of those a listing names, relative to it and sorted.

    Raises InputError as `open_faces` does.
    """
    if not root.is_dir():
        message = f"expected a folder of faces, one folder per identity, at {root}, found {_kind(root)}"
        raise InputError(message)
    paths = _find_paths(root) if listing is None else read_listing(listing, root)
    folders = _identity_folders(paths)
    if "." in folders:
        message = (
            f"expected every face under {root} in the folder of its identity, found {folders.count('.')} directly in "
            f"it, first {paths[folders.index('.')]}; make one folder per person, or name the folder above"
        )
        raise InputError(message)
    return paths


def read_listing(listing: Path, root: Path) -> list[str]:
    """The image paths a listing names, sorted, each once. Raises InputError, with the line, for what is not there."""
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        message = f"expected a text file of image paths at {listing}, found: {error}"
        raise InputError(message) from error
    paths: set[str] = set()
    for number, line in enumerate(lines, start=1):
        path = line.split("\t")[0].strip()
        if not path:
            continue
        if not is_file_under(root, path):
            message = f"expected the path of an image under {root} in {listing}, line {number}, found {path!r}"
            raise InputError(message)
        paths.add(PurePosixPath(path).as_posix())
    if not paths:
        message = f"expected image paths relative to {root} in {listing}, one a line, found none"
        raise InputError(message)
    return sorted(paths)


def _find_paths(root: Path) -> list[str]:
    paths = [path.relative_to(root).as_posix() for path in find_images(root)]
    if not paths:
        message = f"expected faces under {root} ({', '.join(IMAGE_SUFFIXES)}, one folder per identity), found none"
        raise InputError(message)
    return paths


def _identity_folders(paths: Sequence[str]) -> list[str]:
    return [PurePosixPath(path).parent.as_posix() for path in paths]


def _kind(path: Path) -> str:
    return "a file" if path.exists() else "nothing"


def draw_images(faces: FaceSet, count: int, seed: int) -> NDArray[np.uint8]:
    """(min(count, N), H, W, 3) images drawn without repetition, the same for the same seed."""
    size = min(count, len(faces))
    chosen = np.sort(np.random.default_rng(seed).choice(len(faces), size, replace=False))
    return np.array(faces.images[chosen])
