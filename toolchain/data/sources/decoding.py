"""Decoding a source's images into one array, once: the result is kept in a cache folder."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.errors import EfqError, InputError, UnreadableImageError, UsageError
from efq.runtime.faces.images import decode_image
from efq.runtime.files import atomic_write_text, cache_folder
from efq.runtime.progress import ShowProgress, no_progress
from efq.toolchain.data.sources.source import FaceSource

_CACHE_VERSION = 2
_UNREADABLE_NAMED = 5

_logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DecodedFaces:
    """`images` (N, H, W, 3) uint8 RGB, the key and SHA-256 of each, and the keys of those that cannot be decoded."""

    keys: list[str]
    hashes: list[str]
    unreadable: list[str]
    images: NDArray[np.uint8]


def decode_faces(
    source: FaceSource,
    keys: Sequence[str],
    contract: InputContract,
    *,
    cache: bool,
    resize: bool,
    progress: ShowProgress = no_progress,
) -> DecodedFaces:
    """Decode the images `keys` of `source`, from the cache where it holds them as they are now.

    The cache holds one pair of files for each (keys and their fingerprints, input contract, resize): an .npy array,
    mapped into memory, and a .json with the hashes. Images that cannot be decoded are named in a warning. Raises
    InputError for images of another size than the contract's, unless `resize`.
    """
    decoder = _Decoder(source, keys, contract, resize, progress)
    faces = decoder.from_cache() if cache else decoder.into_memory()
    _warn_of_unreadable(source, faces.unreadable)
    return faces


@dataclasses.dataclass(frozen=True)
class _Decoder:
    source: FaceSource
    keys: Sequence[str]
    contract: InputContract
    resize: bool
    progress: ShowProgress

    def into_memory(self) -> DecodedFaces:
        return self._decode_into(np.empty(self._shape, np.uint8))

    def from_cache(self) -> DecodedFaces:
        try:
            stem = cache_folder() / f"faces-{self._cache_key()}"
        except UsageError as error:
            _logger.warning("decoded faces are not kept: %s", error)
            return self.into_memory()
        faces = _read_cache(stem, self._shape)
        if faces is None:
            self._fill_cache(stem)
            faces = _read_cache(stem, self._shape)
        if faces is None:
            message = f"expected the decoded faces just written at {stem}.npy, found them changed; run again"
            raise EfqError(message)
        return faces

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return len(self.keys), self.contract.height, self.contract.width, 3

    def _cache_key(self) -> str:
        digest = hashlib.sha256(json.dumps([_CACHE_VERSION, self.contract.to_dict(), self.resize]).encode())
        for key in self.keys:
            digest.update(json.dumps([key, *self.source.fingerprint(key)]).encode())
        return digest.hexdigest()[:32]

    def _fill_cache(self, stem: Path) -> None:
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            with _written_beside(stem.with_suffix(".npy")) as temporary:
                images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=self._shape)
                _reserve(temporary)
                faces = self._decode_into(images)
                images.flush()
        except OSError as error:
            message = f"cannot write {stem}.npy: {error.strerror or error}; set EFQ_CACHE to a folder with room"
            raise EfqError(message) from error
        record = {"keys": faces.keys, "hashes": faces.hashes, "unreadable": faces.unreadable}
        atomic_write_text(stem.with_suffix(".json"), json.dumps(record))

    def _decode_into(self, images: NDArray[np.uint8]) -> DecodedFaces:
        kept: list[str] = []
        hashes: list[str] = []
        unreadable: list[str] = []
        wrong_size: list[str] = []
        with self.progress("decoding faces", len(self.keys), "images") as bar:
            for key in self.keys:
                bar.advance()
                try:
                    data = self.source.read(key)
                    image = decode_image(data, name=key)
                except UnreadableImageError:
                    unreadable.append(key)
                    continue
                if image.shape != images.shape[1:]:
                    wrong_size.append(f"{key} ({image.shape[0]}x{image.shape[1]})")
                    image = _stretch(image, images.shape[1], images.shape[2])
                images[len(kept)] = image
                kept.append(key)
                hashes.append(hashlib.sha256(data).hexdigest())
        if wrong_size and not self.resize:
            raise self._wrong_size(wrong_size)
        return DecodedFaces(keys=kept, hashes=hashes, unreadable=unreadable, images=images[: len(kept)])

    def _wrong_size(self, found: list[str]) -> InputError:
        return InputError(
            f"expected aligned faces of {self.contract.height}x{self.contract.width} pixels in {self.source.name}, "
            f"found {len(found)} of another size, first {found[0]}; align them from their landmarks "
            "(efq.runtime.align), or take them stretched with resize=True (--resize)"
        )


def _read_cache(stem: Path, shape: tuple[int, ...]) -> DecodedFaces | None:
    """The cached faces, or None when there are none or the files do not fit together."""
    try:
        record = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        images = np.load(stem.with_suffix(".npy"), mmap_mode="c", allow_pickle=False)
        keys, hashes, unreadable = record["keys"], record["hashes"], record["unreadable"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    fits = images.dtype == np.uint8 and images.shape[1:] == shape[1:]
    if not fits or not len(keys) == len(hashes) <= len(images):
        return None
    return DecodedFaces(keys=keys, hashes=hashes, unreadable=unreadable, images=images[: len(keys)])


@contextlib.contextmanager
def _written_beside(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _reserve(path: Path) -> None:
    """Take the room of a file that is mapped: a full disk is an OSError here, and would be a SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _stretch(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _warn_of_unreadable(source: FaceSource, unreadable: list[str]) -> None:
    if unreadable:
        more = f" and {len(unreadable) - _UNREADABLE_NAMED} more" if len(unreadable) > _UNREADABLE_NAMED else ""
        named = ", ".join(unreadable[:_UNREADABLE_NAMED])
        _logger.warning(
            "skipped %d images in %s that cannot be decoded: %s%s", len(unreadable), source.name, named, more
        )
