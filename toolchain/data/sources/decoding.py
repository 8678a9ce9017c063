"""Decoding a source's images into one array, once: the result is kept in a cache folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.artifact.training_data import PIXEL_SCHEME
from efq.runtime.errors import EfqError, InputError, UnreadableImageError, UsageError
from efq.runtime.faces.images import decode_image
from efq.runtime.faces.templates import NARROW
from efq.runtime.files import cache_folder, sweep_partials
from efq.runtime.machine.cache import LIMIT_VARIABLE, cache_limit, make_room, mark_used
from efq.runtime.machine.memory import available_memory
from efq.runtime.progress import ShowProgress, no_progress
from efq.runtime.writing.partials import held_partial
from efq.toolchain.data.duplicates import pixel_hash
from efq.toolchain.data.sources.decoded_cache import PATTERN, DecodedFaces, finish_entry, read_entry
from efq.toolchain.data.sources.source import FaceSource

_CACHE_VERSION = 3
_UNREADABLE_NAMED = 5

_logger = logging.getLogger(__name__)


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

    The cache holds one file for each (keys and their fingerprints, input contract, resize), at most as many as
    `cache_limit` allows. Where it cannot be written the images are decoded into memory, with a warning. Images that
    cannot be decoded are named in a warning. Raises InputError for images of another size than the contract's, unless
    `resize`, EfqError where neither the cache nor the memory has room.
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
        needed, available = int(np.prod(self._shape)), available_memory()
        if available is not None and needed > available:
            message = (
                f"expected {needed:,} bytes of memory for {len(self.keys):,} decoded faces, found {available:,}; set "
                "EFQ_CACHE to a folder with room, or take fewer images (--max-images, --list)"
            )
            raise EfqError(message)
        return self._decode_into(np.empty(self._shape, np.uint8))

    def from_cache(self) -> DecodedFaces:
        limit = cache_limit()
        try:
            path = cache_folder() / f"faces-{self._cache_key()}"
        except UsageError as error:
            return self._not_kept(str(error))
        sweep_partials(path.parent)
        faces = read_entry(path, self.keys, self._shape)
        if faces is not None:
            mark_used(path)
            return faces
        try:
            return self._fill_cache(path, keep=int(np.prod(self._shape)) <= limit)
        except OSError as error:
            return self._not_kept(f"cannot write {path.parent}: {error.strerror or error}")

    def _not_kept(self, reason: str) -> DecodedFaces:
        _logger.warning("decoded faces are not kept: %s; set EFQ_CACHE to a folder with room", reason)
        return self.into_memory()

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        return len(self.keys), self.contract.height, self.contract.width, 3

    def _cache_key(self) -> str:
        settings = [_CACHE_VERSION, PIXEL_SCHEME, self.contract.to_dict(), self.resize]
        digest = hashlib.sha256(json.dumps(settings).encode())
        for key in self.keys:
            digest.update(json.dumps([key, *self.source.fingerprint(key)]).encode())
        return digest.hexdigest()[:32]

    def _fill_cache(self, path: Path, *, keep: bool) -> DecodedFaces:
        """Decode into a file beside `path`, and move it there to `keep` it; mapped files need no name."""
        size = int(np.prod(self._shape))
        if keep:
            make_room(path.parent, PATTERN, size)
        else:
            _logger.warning(
                "decoded faces are not kept: %s bytes, more than the cache may hold (%s)", f"{size:,}", LIMIT_VARIABLE
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        with held_partial(path) as temporary:
            _reserve(temporary, size)
            images: NDArray[np.uint8] = np.memmap(temporary, dtype=np.uint8, mode="r+", shape=self._shape)
            faces = self._decode_into(images)
            if keep:
                finish_entry(temporary, faces)
            mapped = np.memmap(temporary, dtype=np.uint8, mode="c", shape=self._shape)
            if keep:
                temporary.replace(path)
        return dataclasses.replace(faces, images=mapped[: len(faces.keys)])

    def _decode_into(self, images: NDArray[np.uint8]) -> DecodedFaces:
        kept: list[str] = []
        hashes: list[str] = []
        pixel_hashes: list[str] = []
        unreadable: dict[str, str] = {}
        wrong_size: list[str] = []
        with self.progress("decoding faces", len(self.keys), "images") as bar:
            for key in self.keys:
                bar.advance()
                try:
                    data = self.source.read(key)
                    image = decode_image(data, name=key)
                except UnreadableImageError as error:
                    unreadable[key] = str(error)
                    continue
                pixel_hashes.append(pixel_hash(image))
                if image.shape != images.shape[1:]:
                    wrong_size.append(f"{key} ({image.shape[0]}x{image.shape[1]})")
                    image = _stretch(_cut(image, self.contract), images.shape[1], images.shape[2])
                images[len(kept)] = image
                kept.append(key)
                hashes.append(hashlib.sha256(data).hexdigest())
        if wrong_size and not self.resize:
            raise self._wrong_size(wrong_size)
        return DecodedFaces(
            keys=kept,
            hashes=hashes,
            pixel_hashes=pixel_hashes,
            unreadable=unreadable,
            images=images[: len(kept)],
        )

    def _wrong_size(self, found: list[str]) -> InputError:
        return InputError(
            f"expected aligned faces of {self.contract.height}x{self.contract.width} pixels in {self.source.name}, "
            f"found {len(found)} of another size, first {found[0]}; align them from their landmarks "
            "(efq.runtime.align), or take them stretched with resize=True (--resize)"
        )


def _reserve(path: Path, size: int) -> None:
    """Take the room of a file that is mapped: a full disk is an OSError here, and would be a SIGBUS later."""
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)


def _cut(image: NDArray[np.uint8], contract: InputContract) -> NDArray[np.uint8]:
    """Of a square face for a narrower template, the columns that the template has: those of a square one but 16."""
    height, width = image.shape[:2]
    if contract.alignment != NARROW or height != width:
        return image
    side = round(width / 14)
    return image[:, side : width - side]


def _stretch(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    import cv2

    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def _warn_of_unreadable(source: FaceSource, unreadable: Mapping[str, str]) -> None:
    if unreadable:
        more = f"; and {len(unreadable) - _UNREADABLE_NAMED} more" if len(unreadable) > _UNREADABLE_NAMED else ""
        reasons = "; ".join(list(unreadable.values())[:_UNREADABLE_NAMED])
        _logger.warning(
            "skipped %d images in %s that cannot be read: %s%s", len(unreadable), source.name, reasons, more
        )
