"""Decoding image files into one array, once: the result is kept in a cache folder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.console import log, progress
from efq.runtime.errors import EfqError, InputError, UnreadableImageError
from efq.runtime.faces.images import decode_image
from efq.runtime.files import atomic_write_text, cache_folder

_CACHE_VERSION = 1
_UNREADABLE_NAMED = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodedFaces:
    """`images` (N, H, W, 3) uint8 RGB, with the path and the SHA-256 of each, and the files that cannot be decoded."""

    paths: list[str]
    hashes: list[str]
    unreadable: list[str]
    images: NDArray[np.uint8]


def decode_faces(root: Path, paths: list[str], contract: InputContract, *, cache: bool, resize: bool) -> DecodedFaces:
    """Decode the images `paths` under `root`, from the cache where it holds them as they are now.

    The cache holds one pair of files for each (root, paths, sizes and times of the files, image size, resize): an .npy
    array, mapped into memory, and a .json with the hashes. Raises InputError for images of another size than the
    contract's, unless `resize`.
    """
    if cache:
        faces = _decode_cached(root, paths, contract, resize=resize)
    else:
        images = np.empty((len(paths), contract.height, contract.width, 3), np.uint8)
        faces = _decode_into(images, root, paths, resize=resize)
    _name_unreadable(root, faces.unreadable)
    return faces


def _decode_cached(root: Path, paths: list[str], contract: InputContract, *, resize: bool) -> DecodedFaces:
    stem = cache_folder() / f"faces-{_cache_key(root, paths, contract, resize=resize)}"
    faces = _read_cache(stem, contract)
    if faces is None:
        _fill_cache(stem, root, paths, contract, resize=resize)
        faces = _read_cache(stem, contract)
    if faces is None:
        message = f"expected the decoded faces just written at {stem}.npy, found them changed; run again"
        raise EfqError(message)
    return faces


def _cache_key(root: Path, paths: list[str], contract: InputContract, *, resize: bool) -> str:
    digest = hashlib.sha256(json.dumps([_CACHE_VERSION, str(root.resolve()), contract.to_dict(), resize]).encode())
    for path in paths:
        status = (root / path).stat()
        digest.update(json.dumps([path, status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()[:32]


def _read_cache(stem: Path, contract: InputContract) -> DecodedFaces | None:
    """The cached faces, or None when there are none or the files do not fit together."""
    try:
        record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        images = np.load(stem.with_suffix(".npy"), mmap_mode="c", allow_pickle=False)
        paths, hashes, unreadable = record["paths"], record["hashes"], record["unreadable"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = images.dtype == np.uint8 and images.shape[1:] == (contract.height, contract.width, 3)
    if not fits or not len(paths) == len(hashes) <= len(images):
        return None
    return DecodedFaces(paths=paths, hashes=hashes, unreadable=unreadable, images=images[: len(paths)])


def _fill_cache(stem: Path, root: Path, paths: list[str], contract: InputContract, *, resize: bool) -> None:
    try:
        stem.parent.mkdir(parents=True, exist_ok=True)
        with _written_beside(stem.with_suffix(".npy")) as temporary:
            shape = (len(paths), contract.height, contract.width, 3)
            images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            faces = _decode_into(images, root, paths, resize=resize)
            images.flush()
    except OSError as error:
        message = f"cannot write {stem}.npy: {error.strerror or error}; set EFQ_CACHE to a folder with room"
        raise EfqError(message) from error
    record = {"paths": faces.paths, "hashes": faces.hashes, "unreadable": faces.unreadable}
    atomic_write_text(stem.with_suffix(".json"), json.dumps(record))


@contextlib.contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _decode_into(images: NDArray[np.uint8], root: Path, paths: list[str], *, resize: bool) -> DecodedFaces:
    kept: list[str] = []
    hashes: list[str] = []
    unreadable: list[str] = []
    wrong_size: list[str] = []
    with progress("decoding faces", len(paths), "images") as bar:
        for path in paths:
            bar.advance()
            try:
                data = _read_bytes(root / path)
                image = decode_image(data, name=path)
            except UnreadableImageError:
                unreadable.append(path)
                continue
            if image.shape != images.shape[1:]:
                wrong_size.append(f"{path} ({image.shape[0]}x{image.shape[1]})")
                image = _stretch(image, images.shape[1], images.shape[2])
            images[len(kept)] = image
            kept.append(path)
            hashes.append(hashlib.sha256(data).hexdigest())
    if wrong_size and not resize:
        message = (
            f"expected aligned faces of {images.shape[1]}x{images.shape[2]} pixels under {root}, found "
            f"{len(wrong_size)} of another size, first {wrong_size[0]}; align them from their landmarks "
            "(efq.runtime.align), or take them stretched with resize=True (--resize)"
        )
        raise InputError(message)
    return DecodedFaces(paths=kept, hashes=hashes, unreadable=unreadable, images=images[: len(kept)])


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"expected an image at {path}, found: {error.strerror or error}"
        raise UnreadableImageError(message) from error


def _stretch(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _name_unreadable(root: Path, unreadable: list[str]) -> None:
    if unreadable:
        more = f" and {len(unreadable) - _UNREADABLE_NAMED} more" if len(unreadable) > _UNREADABLE_NAMED else ""
        named = ", ".join(unreadable[:_UNREADABLE_NAMED])
        log(f"warning: skipped {len(unreadable)} images under {root} that cannot be decoded: {named}{more}")
