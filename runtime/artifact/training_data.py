"""training_data.json: which images a network was fine-tuned on, by hash, so that it is not measured on them."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from efq.runtime.artifact.schema import FileSchema
from efq.runtime.errors import InputError, SchemaError
from efq.runtime.reading import read_text

PIXEL_SCHEME = "rgb8-sha256-1"
"""How pixels are hashed (`efq.toolchain.data.duplicates`); those of another scheme are compared with none."""

NEAR_SCHEME = "luma-dct-256-1"
"""How a photo is known again when its pixels have changed (`efq.toolchain.data.near_duplicates`); as above."""

NEAR_BYTES = 32
"""Of the hash of each image by that scheme."""

_PREFIX = re.compile(r"[0-9a-f]{16}")
_SCHEMA = FileSchema(
    file="training_data.json", version=1, remedy="export the student again with efq-export"
)  # its keys were never others than it has now, so it holds no version


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The first 16 hexadecimal digits of the SHA-256 of each image's file, and of its pixels.

    pixels: None where they are not known, as in an artifact that an older EFQ wrote, or are of another scheme.
    near: NEAR_BYTES of each image one after the other, by which it is known compressed anew, resized or cut; None as
    for the pixels. Raises InputError for others.
    """

    files: frozenset[str]
    pixels: frozenset[str] | None = None
    near: bytes | None = None

    def __post_init__(self) -> None:
        wrong = next((value for value in (*self.files, *(self.pixels or ())) if not _PREFIX.fullmatch(value)), None)
        if wrong is not None:
            message = (
                f"expected 16 hexadecimal digits of each training image's SHA-256, found {wrong!r}. Train it again"
            )
            raise InputError(message)
        if len(self.near or b"") % NEAR_BYTES:
            message = f"expected {NEAR_BYTES} bytes for each training image, found {len(self.near or b'')} in all"
            raise InputError(message)

    def to_json(self, images: int) -> str:
        """The file's text; `images` is how many there were, files of the same bytes included."""
        values: dict[str, Any] = {"images": images, "sha256_prefixes": sorted(self.files)}
        if self.pixels is not None:
            values["pixels"] = {"scheme": PIXEL_SCHEME, "sha256_prefixes": sorted(self.pixels)}
        if self.near is not None:
            values["near"] = {"scheme": NEAR_SCHEME, "hashes": base64.b64encode(self.near).decode()}
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse the file's text. Raises SchemaError for keys or values that do not fit."""
        values = _SCHEMA.parse(text)
        known = {"images", "sha256_prefixes", "pixels", "near"}
        _SCHEMA.expect_keys(_SCHEMA.file, set(values), known, optional={"pixels", "near"})
        images, files = values["images"], _prefixes("sha256_prefixes", values)
        fits = type(images) is int and images >= len(files)
        _SCHEMA.expect(fits, "images", f"a count, {len(files)} or more", images)
        pixels, near = _of_scheme("pixels", PIXEL_SCHEME, values), _of_scheme("near", NEAR_SCHEME, values)
        return cls(
            files=files,
            pixels=None if pixels is None else _prefixes("sha256_prefixes", pixels),
            near=None if near is None else _near_hashes(near),
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises SchemaError as `from_json` does, and when it is not there or is none."""
        text = read_text(path, expected="the hashes of training images", error_class=SchemaError)
        try:
            return cls.from_json(text)
        except SchemaError as error:
            message = f"{error} ({path})"
            raise SchemaError(message) from error


def _of_scheme(field: str, scheme: str, values: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The record `field`; None without one, or of a scheme that another version of EFQ made."""
    record = values.get(field)
    if record is None:
        return None
    _SCHEMA.expect(isinstance(record, Mapping), field, "an object", record)
    return record if record.get("scheme") == scheme else None


def _near_hashes(record: Mapping[str, Any]) -> bytes:
    text = record.get("hashes")
    try:
        found = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        found = None
    fits = found is not None and len(found) % NEAR_BYTES == 0
    _SCHEMA.expect(fits, "near", f"{NEAR_BYTES} bytes for each image, in base64,", text)
    return found or b""


def _prefixes(field: str, values: Mapping[str, Any]) -> frozenset[str]:
    found = values.get(field)
    fits = isinstance(found, list) and all(isinstance(value, str) and _PREFIX.fullmatch(value) for value in found)
    _SCHEMA.expect(fits, field, "a list of 16 hexadecimal digits each", found)
    assert isinstance(found, list)
    return frozenset(found)
