"""training_data.json: which images a network was fine-tuned on, by hash, so that it is not measured on them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from efq.runtime.errors import InputError, SchemaError
from efq.runtime.reading import read_json

PIXEL_SCHEME = "rgb8-sha256-1"
"""How pixels are hashed (`efq.toolchain.data.duplicates`); those of another scheme are compared with none."""

_PREFIX = re.compile(r"[0-9a-f]{16}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingData:
    """The first 16 hexadecimal digits of the SHA-256 of each image's file, and of its pixels.

    pixels: None where they are not known, as in an artifact that an older EFQ wrote, or are of another scheme.
    """

    files: frozenset[str]
    pixels: frozenset[str] | None

    def __post_init__(self) -> None:
        wrong = next((value for value in (*self.files, *(self.pixels or ())) if not _PREFIX.fullmatch(value)), None)
        if wrong is not None:
            message = (
                f"expected 16 hexadecimal digits of each training image's SHA-256, found {wrong!r}. Train it again"
            )
            raise InputError(message)

    def to_json(self, images: int) -> str:
        """The file's text; `images` is how many there were, files of the same bytes included."""
        values: dict[str, Any] = {"images": images, "sha256_prefixes": sorted(self.files)}
        if self.pixels is not None:
            values["pixels"] = {"scheme": PIXEL_SCHEME, "sha256_prefixes": sorted(self.pixels)}
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file. Raises SchemaError when it is not there or is none."""
        found = read_json(path, expected="the hashes of training images", error_class=SchemaError)
        values = found if isinstance(found, Mapping) else {}
        pixels = values.get("pixels")
        known = isinstance(pixels, Mapping) and pixels.get("scheme") == PIXEL_SCHEME
        try:
            return cls(
                files=_prefixes(values.get("sha256_prefixes")),
                pixels=_prefixes(pixels.get("sha256_prefixes")) if isinstance(pixels, Mapping) and known else None,
            )
        except (TypeError, InputError) as error:
            message = f"expected the hashes of training images in {path}, found {error}: export the student again"
            raise SchemaError(message) from error


def _prefixes(values: Any) -> frozenset[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        message = "no list of texts as sha256_prefixes"
        raise TypeError(message)
    return frozenset(values)
